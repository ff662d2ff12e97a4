"""The settings of the service: one object, read from the environment (``FACTOR_ENGINE_*``) and checked once."""

from __future__ import annotations

import hashlib
import json
import os
import re
import warnings
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit, urlunsplit

from pydantic import AliasChoices, BeforeValidator, Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

NAMESPACE = "factor_engine"
"""The Ray namespace of every named actor."""
HEAD = "node:__internal_head__"
"""A resource that Ray gives the head node."""
TOKENS = "FACTOR_ENGINE_TOKENS"
"""Not among what `environment_of` gives: it is secret until it was hashed."""
FROZEN_AFTER_S = 30.0


def _switch(name: str) -> AliasChoices:
    """Accept the switch of the engine this replaces beside our own name."""
    return AliasChoices(f"FACTOR_ENGINE_{name}", name)


def _words(value: Any) -> Any:
    """Read a list from the environment: names with commas between them, or JSON."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        return json.loads(value)
    return tuple(word.strip() for word in value.split(",") if word.strip())


Words = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_words)]


class Settings(BaseSettings):
    """Everything an operator can set; docs/operations.md is checked against it."""

    model_config = SettingsConfigDict(env_prefix="FACTOR_ENGINE_", extra="ignore", frozen=True, populate_by_name=True)

    run_dir: Path = Field(Path(".run"), description="Where a run keeps its store, outbox, NATS data, secrets and logs.")
    store: str | None = Field(
        None, description="Where models are kept: a folder, or `s3://bucket/prefix`; default `store_dir`."
    )
    store_dir: Path | None = Field(None, description="The same as a folder; default `run_dir`/store.")
    store_cache: Path | None = Field(
        None, description="This node's copy of an object store; default `run_dir`/store-cache."
    )
    store_cache_mb: int = Field(
        20_000, ge=1, description="What that copy may take, MB; what came longest ago goes first."
    )
    store_poll_s: float = Field(
        2.0, ge=0.05, description="How often a node asks an object store what other nodes changed, seconds."
    )
    http_host: str = Field("127.0.0.1", description="Address of the HTTP face.")
    http_port: int = Field(8300, ge=1, le=65535, description="Port of the HTTP face.")
    allowed_hosts: Words = Field(
        (), description="Names that requests may ask for beside loopback's and `http_host`; `*`: any."
    )
    allowed_origins: Words = Field(
        (), description="Pages of other hosts that may write and open websockets, as `https://name:port`; `*`: any."
    )
    token_file: Path | None = Field(None, description="Tokens of the HTTP face, hashed; default `run_dir`/tokens.json.")
    tokens: SecretStr | None = Field(
        None, exclude=True, description="More of them: `name:scope:token[:requests per second]`, with commas between."
    )
    http: Literal["haproxy", "uvicorn"] | None = Field(None, description="Serve's proxy; default haproxy on Linux.")
    http_replicas: int = Field(1, ge=1, le=16, description="Processes that answer HTTP requests, all on the head.")
    http_replicas_most: int | None = Field(
        None,
        ge=1,
        le=16,
        description="Their number follows the requests in work, from `http_replicas` up to so many; default: it stays.",
    )
    http_requests_each: float = Field(
        32.0, gt=0, description="Requests in work, open websockets too, that are the share of one such process."
    )
    http_json_limit_bytes: int = Field(32 * 2**20, ge=1024, description="Largest JSON body.")
    http_bulk_limit_bytes: int = Field(2 * 2**30, ge=1024, description="Largest Arrow or Parquet body.")
    json_value_limit: int = Field(5_000_000, ge=1000, description="Most values (numbers, texts, lists) in a JSON body.")
    table_limit_mb: int = Field(4000, ge=1, description="Largest table in memory, decoded from a bulk body, MB.")
    model_grid_limit_mb: int = Field(
        8000, ge=1, description="Most memory for a model's dates x names x (fields + 20 working arrays), MB."
    )
    posted_grid_limit_mb: int = Field(
        1000, ge=1, description="The same for a calculation on a posted table, x (fields + 8), MB."
    )
    actor_memory_limit_mb: int = Field(
        12_000, ge=500, description="Most private memory of one workload actor, MB (Linux); beyond it a request fails."
    )
    nats_url: str | None = Field(None, description="An external NATS server; default: start one on loopback.")
    nats_user: str | None = Field(None, description="Log-in of the external server, by name.")
    nats_password: SecretStr | None = Field(None, exclude=True, description="The password of `nats_user`.")
    nats_token: SecretStr | None = Field(
        None, exclude=True, description="Log-in of the external server, by one secret."
    )
    nats_nkey_file: Path | None = Field(None, description="The same by an nkey: a file with its seed.")
    nats_creds_file: Path | None = Field(None, description="The same by a JWT: a `.creds` file.")
    nats_ca_file: Path | None = Field(
        None, description="Authority of the external server's certificate (PEM); insists on TLS, as `tls://` does."
    )
    nats_cert_file: Path | None = Field(None, description="The certificate that we show it (PEM).")
    nats_key_file: Path | None = Field(None, description="The key of `nats_cert_file` (PEM).")
    nats_inbox: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$",
        description="What subjects of replies to us begin with there.",
    )
    nats_port: int = Field(4222, ge=1, le=65535, description="Port wanted for the embedded nats-server.")
    subscribe_to_engines: Words = Field(
        ("risk", "analytics", "strategy", "ml", "portfolio", "toraniko"), description="Peer engines that we answer."
    )
    buffer_interval_ms: float = Field(10.0, ge=0, description="Longest time a message below the threshold is buffered.")
    max_buffer_size: int = Field(5000, ge=1, description="Messages buffered before a flush is forced.")
    priority_threshold: str = Field("HIGH", description="At or above this priority a message skips the buffer.")
    outbox_limit: int = Field(
        200_000, ge=100, description="Undelivered events kept; beyond it LOW, then oldest, go first."
    )
    ray_num_cpus: int | None = Field(None, description="CPUs for a local Ray; default: all.")
    object_store_mb: int = Field(512, ge=80, description="Object store of a Ray that is started here, MB.")
    queue_limit: int = Field(1024, ge=1, description="Requests waiting per actor and lane before 429.")
    bridges: int = Field(
        1, ge=1, le=16, description="Processes that answer NATS requests; one of them publishes, takes bars and so on."
    )
    node_bridges: int = Field(
        0,
        ge=0,
        le=16,
        description="The same on each further node; needs `nats_url`, reached from there. They publish nothing.",
    )
    pools: Words = Field(
        (),
        description="Several actors of a workload: `workload=3`, or `workload=node`, one on each node; commas between.",
    )
    bridge_limit: int = Field(4096, ge=1, description="NATS requests in work at once before 429.")
    nats_rate: float = Field(10_000.0, gt=0, description="Requests per second of one NATS connection before 429.")
    batch_limit: int = Field(64, ge=1, description="Requests in one dispatch.")
    batch_predicted_ms: float = Field(20.0, gt=0, description="Predicted time that one dispatch may take.")
    low_priority_ages_s: float = Field(
        1.0, gt=0, description="Waiting this long raises a request by one priority level."
    )
    actor_ready_timeout_s: float = Field(
        10.0, gt=0, description="An actor on a device that is not READY by then is moved."
    )
    disk_low_mb: int = Field(
        1024, ge=1, description="Health names a disk with less free room, MB; on a small disk, with less than a tenth."
    )
    frozen_after_s: float = Field(
        FROZEN_AFTER_S,
        gt=0,
        description="A silent actor is replaced so many seconds after its longest deadline; a stopped one after these.",
    )
    keep_versions: int = Field(16, ge=1, description="Versions of a model kept beside the newest.")
    checkpoint_days: int = Field(
        63, ge=0, description="Days of a model's history between checkpoints, which corrections go on from; 0: none."
    )
    checkpoints: int = Field(
        32, ge=0, description="Most checkpoints of a model; a longer history has them twice, four times as far apart."
    )
    library_threads: int = Field(1, ge=1, description="Threads of the factor library's kernels.")
    library_models: int = Field(2, ge=1, description="Models whose factor library is kept current in memory.")
    live_watches: int = Field(64, ge=0, description="Watches of running days that are kept; one more is refused.")
    live_watch_values: int = Field(
        4_000_000, ge=1000, description="Numbers in a message of one watch: factors x names; more is refused."
    )
    live_pending: int = Field(
        20_000,
        ge=100,
        description="Ticks that wait for the live state; beyond it the newest of a symbol wins, counted.",
    )
    live_replay_hours: float = Field(
        24.0, ge=0, description="How far back the market's journal is read at most, to take up a running day."
    )
    traces: str | None = Field(
        None,
        pattern=r"^https?://[^/@\s]+(/\S*)?$",
        description="Send traces to this OTLP collector (HTTP), as `http://127.0.0.1:4318`; the extra `tracing`.",
    )
    log_format: Literal["text", "json"] = Field("text", description="Log lines for people, or one JSON object a line.")
    log_requests: Literal["none", "problems", "all"] = Field(
        "problems", description="Requests that get a line in the log: those that failed on our side, or all."
    )
    job_places: Words = Field(
        (), description="Folders, and beginnings of URIs, that jobs asked for over HTTP or NATS may read and write."
    )
    model_threads: int = Field(1, ge=1, description="Threads of the factor model's kernels.")
    messagebus_enabled: bool = Field(
        True, validation_alias=_switch("MESSAGEBUS_ENABLED"), description="Start the bridge."
    )
    neural_engine_enabled: bool = Field(
        True, validation_alias=_switch("NEURAL_ENGINE_ENABLED"), description="Use the Neural Engine where it is."
    )
    metal_gpu_enabled: bool = Field(True, description="Use the Metal GPU where it is.")

    @field_validator("priority_threshold")
    @classmethod
    def _known_priority(cls, value: str) -> str:
        from contracts.work import Priority

        return Priority.parse(value).name

    @field_validator("http_replicas_most")
    @classmethod
    def _no_fewer_than_the_least(cls, value: int | None, info: ValidationInfo) -> int | None:
        least = info.data.get("http_replicas")  # absent where it is wrong itself
        if value is not None and least is not None and value < least:
            raise ValueError(f"it is below http_replicas, which is {least}")
        return value

    @field_validator("pools")
    @classmethod
    def _known_pools(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if value:
            from contracts.pools import pools

            pools(value)
        return value

    @field_validator("store")
    @classmethod
    def _known_store(cls, value: str | None) -> str | None:
        if not value:
            return None
        if "://" not in value or value.startswith("file://"):
            return str(Path(value.removeprefix("file://")).resolve())
        return checked_store(value)

    @property
    def http_url(self) -> str:
        """The HTTP face's URL, as this machine reaches it."""
        everywhere = self.http_host in ("0.0.0.0", "::")  # noqa: S104
        return f"http://{'127.0.0.1' if everywhere else self.http_host}:{self.http_port}"

    @property
    def store_path(self) -> Path:
        """The folder that this node reads, absolute: the store itself, or its copy of an object store."""
        uri = self.store_uri
        if uri is None:
            return Path(self.store or self.store_dir or self.run_dir / "store").resolve()
        name = re.sub(r"[^A-Za-z0-9]+", "-", uri) + "-" + hashlib.blake2b(uri.encode(), digest_size=4).hexdigest()
        return ((self.store_cache or self.run_dir / "store-cache") / name).resolve()

    @property
    def store_uri(self) -> str | None:
        """The address of the object store that models are kept in; None where it is a folder."""
        return self.store if self.store is not None and "://" in self.store else None

    @property
    def outbox_path(self) -> Path:
        """The outbox's database file of this node, absolute."""
        return (self.run_dir / "outbox" / "outbox.db").resolve()


# Switches of the engine this replaces that mean nothing any more: (name, why).
RETIRED_SWITCHES = {
    "M4_MAX_OPTIMIZED": "devices are detected and chosen by measurement",
    "TORANIKO_AVAILABLE": "the toraniko workflow is part of the engine and always there",
}


@lru_cache(maxsize=1)
def settings() -> Settings:
    """Read the settings once per process; warn of retired switches."""
    for name, why in RETIRED_SWITCHES.items():
        if name in os.environ:
            warnings.warn(f"{name} is accepted but has no effect: {why}", UserWarning, stacklevel=2)
    return Settings()


def environment_of(current: Settings) -> dict[str, str]:
    """Give the environment variables that make another process read the same settings, but for secrets.

    Those are in private files of the run directory: environments are shown (Ray's dashboard and logs, `/proc`).
    """
    out: dict[str, str] = {}
    for name, value in current.model_dump(mode="json").items():
        if value is None:
            continue
        given = getattr(current, name)
        out[f"FACTOR_ENGINE_{name.upper()}"] = str(given.resolve()) if isinstance(given, Path) else _as_env(value)
    if current.nats_url is not None:
        out["FACTOR_ENGINE_NATS_URL"] = without_login(current.nats_url)
    return out


STORES = ("s3", "gs", "az")
"""Kinds of object stores that a store may lie in."""


def checked_store(uri: str) -> str:
    """Give the address of an object store in its one form.

    Raises
    ------
    ValueError
        It is none, or has something in it that belongs into the environment.
    """
    parts = urlsplit(uri)
    if parts.scheme not in STORES or not parts.netloc:
        raise ValueError(f"a store is a folder, or {', '.join(f'{kind}://bucket/prefix' for kind in STORES)}")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError("credentials belong into the environment, not into a store's address")
    return f"{parts.scheme}://{parts.netloc}{parts.path}".rstrip("/")


def without_login(url: str) -> str:
    """Give a NATS URL, or several with commas between, without user and password."""
    return ",".join(_without_login(part.strip()) for part in url.split(","))


def _without_login(url: str) -> str:
    parts = urlsplit(url if "//" in url else f"nats://{url}")
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _as_env(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)

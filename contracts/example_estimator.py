"""The file of the operation table's example of an estimator: a ridge regression on two features, saved with skops."""

EXAMPLE_FILE = (
    "UEsDBBQAAAAIAAAAIQAjpoAlUAAAAJAAAAAGAAAAMTAubnB5m+wX6hsQychQxlCtnpJanFykbqWgbpNmoa6joJ6WX1RSlJgXn1+UkgoSd0vMKU4F"
    "ihdnJBakAvkaRjqaOgq1ChQArmqRde4Pq1rsIfSU/QBQSwMEFAAAAAgAAAAhAEad2s27AQAAhwwAAAsAAABzY2hlbWEuanNvbu2WXU/CMBSG/0uv"
    "ybKionBn4pUxmBgvTMQ0ZeukUNqlpyMuhP/u6ZiIQwbR6hVX0Pbt+5zTj7MuCWOJ4gCMkQF5kOmrIB3sm5u0UKLqhJkS3OpISY2/fkSoiNmNVBme"
    "CltJ78dTkbghKnAkMdoJ7chg+YWRysQ1EeNCKic1NP1u5HduXOUT3rQFZ491vQWjm64kjuKYYo8ENsVxMnC2EH6iTP2ks1WHZNIxiXqbiHwnrd/y"
    "PW4//nzltXnJnv6fO+dvTGLWocm6UGo/+QLJzqi/2Oa2fe4hFoxahE93RHjhzIjsZ18iOzcgnVyI0PSMK2jZ5ytEW65TM2fguAuOP7zXmmWCu8IK"
    "wDvGQvO7++H96mqJbIepU24tL5tcXczzsgkdptdeW3NdmYstZSaVb9I40vXMNZnGVd7+bgVP+PCCr095cPCIJBOjBMzKtqNOKUawqaXBg8Bb3sLu"
    "IpvVXzWGawDSi0IvA436EW1dg7MVBjITJfPnBZoRKAlHfyfvUNsM4fnHCT1iOLXbJlY8MSe/k9/J7+RX+71stfwz8aPR3fpP8UFjjTOJf8h1q6pr"
    "cvisuVioaQ9r9eodUEsBAhQDFAAAAAgAAAAhACOmgCVQAAAAkAAAAAYAAAAAAAAAAAAAAIABAAAAADEwLm5weVBLAQIUAxQAAAAIAAAAIQBGndrN"
    "uwEAAIcMAAALAAAAAAAAAAAAAACAAXQAAABzY2hlbWEuanNvblBLBQYAAAAAAgACAG0AAABYAgAAAAA="
)
"""Coefficients 0.01 and -0.02, no intercept; base64."""

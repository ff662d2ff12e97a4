"""Values that travel as arrays arrive as the dictionaries and lists that they stand for."""

from __future__ import annotations

import pickle

import numpy as np

from actors.reading.columns import Named, Rows, Table

NAMES = ("A", "B", "C")


def test_named_values_arrive_as_a_dictionary_with_none_where_undefined():
    values = Named(NAMES, np.array([1.5, np.nan, -2.0]))
    expected = {"A": 1.5, "B": None, "C": -2.0}
    assert values == expected
    arrived = pickle.loads(pickle.dumps(values))
    assert type(arrived) is dict
    assert arrived == expected


def test_a_table_arrives_as_dictionaries_that_leave_out_what_is_undefined():
    table = Table(("x", "y"), list(NAMES), np.array([[1.0, 2.0, 3.0], [np.nan, 0.5, np.inf]]))
    expected = {"x": {"A": 1.0, "B": 2.0, "C": 3.0}, "y": {"B": 0.5}}
    assert table == expected
    assert pickle.loads(pickle.dumps(table)) == expected


def test_rows_of_a_table_share_no_dictionary():
    arrived = pickle.loads(pickle.dumps(Table(("x", "y"), NAMES, np.ones((2, 3)))))
    arrived["x"]["A"] = 0.0
    assert arrived["y"]["A"] == 1.0


def test_a_matrix_arrives_as_a_list_of_rows_with_the_same_bits():
    matrix = np.asfortranarray(np.random.default_rng(0).standard_normal((4, 3)))
    rows = Rows(matrix)
    assert len(rows) == 4
    assert rows[1] == matrix[1].tolist()
    assert pickle.loads(pickle.dumps(rows)) == matrix.tolist()


def test_columns_of_no_names_arrive_empty():
    assert pickle.loads(pickle.dumps(Named((), np.empty(0)))) == {}
    assert pickle.loads(pickle.dumps(Table((), (), np.empty((0, 0))))) == {}
    assert pickle.loads(pickle.dumps(Rows(np.empty((0, 2))))) == []

from web.document import OPERATIONS_PAGE, PAGE, operations_page, page


def test_the_api_page_is_what_the_operation_table_says():
    assert PAGE.read_text() == page(), "run `python -m web.document`"


def test_the_operations_page_lists_the_settings_that_there_are():
    assert OPERATIONS_PAGE.read_text() == operations_page(), "run `python -m web.document`"

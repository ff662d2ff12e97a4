from web.document import PAGE, page


def test_the_api_page_is_what_the_operation_table_says():
    assert PAGE.read_text() == page(), "run `python -m web.document`"

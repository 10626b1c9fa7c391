from vigor_jax.report import class_table


def test_the_worst_class_comes_first(class_found, class_data):
    table = class_table.of_split(class_found, class_data)
    assert table.columns == ["class", "top-1", "top-2", "images", "in training", "most often taken for"]
    rows = [[cell.replace("\xa0", " ") for cell in row] for row in table.rows]
    assert rows == [
        ["plum", "0 %", "0 %", "1", "4", "pear (1)"],
        ["fig", "0 %", "100 %", "1", "0", "pear (1)"],
        ["a <b>", "50 %", "100 %", "2", "4", "pear (1)"],
        ["pear", "50 %", "100 %", "2", "4", "plum (1)"],
    ]

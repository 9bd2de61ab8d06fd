"""Tables in the forms of terminals, pages and papers."""

from tfdeblur.evaluation.tables import Grid, csv_text

GRID = Grid(
    ["", "blurred", "u_net | 1"],
    [["PSNR dB", "25.1", "27.0"], ["MSE e-3", "6.2", "1.9"]],
    frozenset({(0, 2), (1, 1)}),
    "100% of CIFAR",
    ["A & B."],
)


def test_text_is_aligned_and_marks_the_best():
    lines = GRID.to_text().splitlines()
    assert lines[0] == "100% of CIFAR"
    assert lines[4] == "PSNR dB     25.1      *27.0"
    assert lines[5] == "MSE e-3     *6.2        1.9"
    assert lines[-1] == "A & B."


def test_markdown_escapes_bars():
    lines = GRID.to_markdown().splitlines()
    assert lines[2] == "|  | blurred | u_net \\| 1 |"
    assert lines[4] == "| PSNR dB | 25.1 | **27.0** |"
    assert lines[-1] == "- A & B."


def test_latex_escapes_special_characters_and_has_powers_of_ten():
    text = GRID.to_latex()
    assert r" & blurred & u\_net | 1 \\" in text
    assert r"PSNR dB & 25.1 & \textbf{27.0} \\" in text
    assert r"MSE $\times 10^{-3}$ & \textbf{6.2} & 1.9 \\" in text
    assert "% 100% of CIFAR" in text and r"\begin{tabular}{lrr}" in text


def test_transposed_table_keeps_its_best_cells():
    turned = GRID.transposed()
    assert turned.header == ["", "PSNR dB", "MSE e-3"]
    assert turned.rows == [["blurred", "25.1", "6.2"], ["u_net | 1", "27.0", "1.9"]]
    assert {turned.rows[row][column] for row, column in turned.best} == {"27.0", "6.2"}
    assert turned.transposed() == GRID


def test_csv_has_the_keys_of_all_lines():
    assert csv_text([{"a": 1}, {"a": 2, "b": 3}]) == "a,b\n1,\n2,3\n"

"""`vigor-jax cost`; what is counted, tests/models/test_cost.py says."""


def test_a_table_of_layers_ends_in_their_sums(run_command, capsys):
    assert run_command("cost", "mobilenet_0.25", "--image", "64x128", "--classes", "10") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "mobilenet_0.25, one image of 64 x 128, float32"
    layers = lines[4:59]
    assert "depthwise 3x3        32 x 64 x 8 " in layers[2]
    total = lines[60].split()
    for column, unit in ((-3, "M parameters"), (-2, "M multiply-adds"), (-1, "MiB of activations an image")):
        counts = [int(line.split()[column].replace(",", "")) for line in layers]
        assert int(total[column].replace(",", "")) == sum(counts)
        assert unit in lines[-1]
    assert lines[-1].startswith("0.22 M parameters, 6.66 M multiply-adds and 1.57 MiB")
    assert lines[64].split()[:5] == ["convolution", "1x1", "196,224", "91.00%", "5,505,024"]


def test_what_is_wrong_is_said(run_command, capsys):
    assert run_command("cost", "mobilenet_0.3") == 2
    assert "no backbone 'mobilenet_0.3'. Did you mean mobilenet_0." in capsys.readouterr().err
    for flag, message in (("--image", "'0' is not a size such as 224 or 320x640"), ("--classes", "not a number of")):
        assert run_command("cost", "mobilenet_0.25", flag, "0") == 2
        assert message in capsys.readouterr().err

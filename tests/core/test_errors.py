from torchdeck.core.errors import ConfigError, Fault, InputError, nearest


def test_an_error_names_its_mend() -> None:
    assert str(InputError("no model named 'resnt18'", nearest("resnt18", ["lenet", "resnet18"]))) == (
        "no model named 'resnt18'; did you mean 'resnet18'?"
    )


def test_a_config_error_names_every_fault() -> None:
    error = ConfigError([Fault("optimizer.lr", "must be above 0"), Fault("", "unknown section 'modl'")])
    assert str(error) == "optimizer.lr: must be above 0\nunknown section 'modl'"
    assert error.exit_code == 2

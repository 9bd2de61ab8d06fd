import pytest

from tests.helpers.tiny_models import TINY
from tfdeblur import models
from tfdeblur.testing import models as contract


@pytest.mark.parametrize("name", ["fpn_mobilenet", "fpn_inception"])
@pytest.mark.parametrize(
    "check",
    [
        contract.trainable_weights_all_have_gradients,
        contract.unit_model_in_bfloat16_is_close_and_float32,
        contract.unit_model_saved_and_loaded_is_equal,
    ],
)
def test_instance_norm_fulfills_the_contract(check, name):
    check(models.create(name, {**TINY[name], "norm": "instance"}))

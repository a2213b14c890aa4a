"""Which method a published state dict belongs to, and whether it fits to the last key.

After ``find_state_dict`` the names of the published checkpoints are:

| method | first parts of the names | besides |
|---|---|---|
| lvs, sslalignment | ``imgnet``, ``audnet`` | |
| ezvsl | ``imgnet``, ``audnet``, ``img_proj``, ``aud_proj`` | |
| ssltie | ``imgnet``, ``audnet``, ``vision_fc1``, ``conv3``, ``norm3`` | |
| slavc | ``imgnet``, ``audnet``, ``img_proj1`` | and a momentum copy of each |
| htf | ``imgnet``, ``audnet``, ``flowatt`` | ``flownet`` with the CNN for flow |
| attention10k | ``vision_embedding_model``, ``sound_fc1``, ... | |
| avobject | ``net_lip``, ``net_aud``, ``ff_lip``, ... | parts for speech separation, unused |
| coarsetofine | ``vision``, ``audio``, ``avc``, ... | ``project_a``, ``project_v`` in stage 2 |
| dmc | ``visual_net``, ``audio_net``, ``fc_v_1``, ... | |
| sspl | ``frame``, ``sound``, ``ssl_head`` | its authors save a file for each |
| rcgrad | ``image_encoder``, ``audio_encoder`` | an unused convolution |
| flowgrad_ic | ``image_encoder``, ``audio_encoder`` | a first convolution of four channels |
| flowgrad_en | ``image_encoder``, ``audio_encoder``, ``flow_encoder`` | |

RCGrad's training code also saves ``loss_fn.logit_scale``, for its own method and FlowGrad's.
"""

from collections.abc import Mapping
from pathlib import Path

import torch

from earshot.errors import DataError
from train.weights.state_dicts import has_weight_type, is_finite, name_some

_FLOW_STEM_KEY = "image_encoder.conv1_flow.weight"
_FLOWGRAD_IC_CHANNELS = 4  # RGB and the magnitude of flow
# RCGrad's released weights hold such a convolution of six channels, which nothing reads.
_UNUSED_CHANNELS = 6
# The scale belongs to the loss. Maps do not need it.
_SCALE_KEY = "loss_fn.logit_scale"
_METHODS_WITH_SCALE = ("rcgrad", "flowgrad_h", "flowgrad_ic", "flowgrad_en")
# AVObject's released weights also separate speech.
_SPEECH_PARTS = ("sepnet.", "phasenet.")

StateDict = Mapping[str, torch.Tensor]


def recognize_method(state: StateDict) -> dict[str, str] | None:
    """Return the settings of the model that a state dict looks like.

    Returns:
        ``method`` and, for Hear The Flow, ``flow_encoder``. None: no known model.
    """
    parts = {key.split(".")[0] for key in state}

    # FlowGrad-H has RCGrad's weights, so the names alone mean RCGrad.
    if {"image_encoder", "audio_encoder"} <= parts:
        if "flow_encoder" in parts:
            return {"method": "flowgrad_en"}
        has_flow_channel = _count_channels(state, _FLOW_STEM_KEY) == _FLOWGRAD_IC_CHANNELS
        return {"method": "flowgrad_ic" if has_flow_channel else "rcgrad"}

    if {"vision_embedding_model", "sound_fc1"} <= parts:
        return {"method": "attention10k"}
    if {"visual_net", "audio_net"} <= parts:
        return {"method": "dmc"}
    if {"net_lip", "net_aud"} <= parts:
        return {"method": "avobject"}
    if {"frame", "sound", "ssl_head"} <= parts:
        return {"method": "sspl"}
    if {"vision", "audio", "avc"} <= parts:
        return {"method": "coarsetofine"}

    # LVS, EZ-VSL and Hear The Flow have the same names of encoders.
    if {"imgnet", "audnet"} <= parts:
        if "flowatt" in parts:
            return {"method": "htf", "flow_encoder": "cnn" if "flownet" in parts else "maxpool"}
        if "vision_fc1" in parts:
            return {"method": "ssltie"}
        if "img_proj1" in parts:
            return {"method": "slavc"}
        # FNAC and MarginNCE have EZ-VSL's network: without their losses they are EZ-VSL. The names
        # of SSLalignment are those of LVS.
        return {"method": "ezvsl" if "img_proj" in parts else "lvs"}

    return None


def drop_unused_keys(state: StateDict, expected: StateDict, method: str) -> dict[str, torch.Tensor]:
    """Return a state dict without the tensors that its authors saved and nothing reads.

    Args:
        state: Of the checkpoint.
        expected: State dict of a new network of the method.
        method: Its name.
    """
    unused = set()
    # FlowGrad-IC reads this convolution. In the file of RCGrad nothing does.
    has_unused_stem = _count_channels(state, _FLOW_STEM_KEY) == _UNUSED_CHANNELS
    if has_unused_stem and _FLOW_STEM_KEY not in expected:
        unused.add(_FLOW_STEM_KEY)
    if method == "avobject":
        unused |= {key for key in state if key.startswith(_SPEECH_PARTS)}
    # The learned scale of the loss, which is no part of the network here.
    if method in _METHODS_WITH_SCALE and _SCALE_KEY in state and state[_SCALE_KEY].numel() == 1:
        unused.add(_SCALE_KEY)
    return {key: value for key, value in state.items() if key not in unused}


def require_fit(state: StateDict, expected: StateDict, path: Path, method: str) -> None:
    """Raise ``DataError`` unless names, shapes and types are exactly those of the network.

    Args:
        state: Of the checkpoint, without unused keys.
        expected: State dict of a new network of the method.
        path: Of the checkpoint, for the message.
        method: Its name.
    """
    problems = find_differences(state, expected) or _find_infinite(state)
    if problems:
        raise DataError(
            f"{path}: not a published {method} checkpoint: {'; '.join(problems)}; it looks like "
            f"{_describe_model(state)}"
        )


def find_differences(state: StateDict, expected: StateDict) -> list[str]:
    """Describe how names, shapes and types differ from those of the network; empty: they do not."""
    missing = [key for key in expected if key not in state]
    unexpected = [key for key in state if key not in expected]
    shared = [key for key in expected if key in state]
    reshaped = [key for key in shared if expected[key].shape != state[key].shape]
    retyped = [key for key in shared if not has_weight_type(state[key], expected[key])]

    problems = []
    if missing:
        problems.append(f"{len(missing)} keys are missing ({name_some(missing)})")
    if unexpected:
        problems.append(f"{len(unexpected)} keys are not in the model ({name_some(unexpected)})")
    if reshaped:
        key = reshaped[0]
        found, wanted = tuple(state[key].shape), tuple(expected[key].shape)
        problems.append(f"{len(reshaped)} have another shape ({key} is {found}, expected {wanted})")
    if retyped:
        key = retyped[0]
        types = f"{key} is {state[key].dtype}, expected {expected[key].dtype}"
        problems.append(f"{len(retyped)} have another type ({types})")
    return problems


def _find_infinite(state: StateDict) -> list[str]:
    """Describe which tensors of a state dict hold values that no weight can be."""
    not_finite = [key for key, values in state.items() if not is_finite(values)]
    if not_finite:
        return [f"{len(not_finite)} hold NaN or infinity ({name_some(not_finite)})"]
    return []


def _describe_model(state: StateDict) -> str:
    recognized = recognize_method(state)
    if recognized is not None:
        return " ".join(recognized.values())
    if "conv1.weight" in state and any(key.startswith("layer1.") for key in state):
        return "a torchvision ResNet"
    return "no known model"


def _count_channels(state: StateDict, key: str) -> int | None:
    """Return the input channels of a convolution's weights; None where there are none."""
    if key not in state or state[key].dim() < 2:
        return None
    return state[key].shape[1]

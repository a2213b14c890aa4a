"""SSLalignment (Senocak et al., ICCV 2023): its released weights.

At test it is the network of LVS, unchanged, on a spectrogram of 257x299 (``spectrogram.preset``
``sslalignment``). Its training code never came, so the weights are loaded, not trained.
"""

from dataclasses import dataclass
from typing import ClassVar

from train.models import lvs


@dataclass(frozen=True, kw_only=True)
class Parameters(lvs.Parameters):
    """SSLalignment has the parameters of LVS; those of the loss mean nothing here."""

    method: str = "sslalignment"


class Model(lvs.Model):
    """LVS's network."""

    is_trainable: ClassVar[bool] = False

"""Make ``golden_spectrograms.npz``: spectrograms of the published codes, thinned.

    python -m tests.data.make_golden_spectrograms

The shared folder has what the published preprocessing of LVS, EZ-VSL and HTF gives for a waveform.
This keeps the first 2 s of the waveforms and every eighth column that they alone decide.
"""

import numpy as np

from tests.helpers.paths import DATA, SHARED

N_FFT, HOP_LENGTH = 512, 512 - 274  # nperseg 512, noverlap 274
STEP = 8  # of the columns that are kept


def main() -> None:
    """Write the file."""
    golden = np.load(SHARED / "golden" / "protocols.npz")

    kept = {}
    for name, rate, spectrogram, given_step in (
        ("htf_ezvsl", 22050, golden["spec_htf_ezvsl_22050"], 1),
        ("lvs", 16000, golden["spec_lvs_16000"], STEP),
    ):
        waveform = golden["wave22050_3s" if name == "htf_ezvsl" else "wave16000_10s"][: 2 * rate]
        num_columns = (len(waveform) - N_FFT) // HOP_LENGTH + 1
        kept[f"{name}_waveform"] = waveform
        kept[f"{name}_spectrogram"] = spectrogram[:, :: STEP // given_step][
            :, : -(-num_columns // STEP)
        ]
    np.savez_compressed(DATA / "golden_spectrograms.npz", **kept)


if __name__ == "__main__":
    main()

"""What the report of an evaluation tells of temperature and thresholds."""

from typing import Any, Final

RELIABILITY: Final = "reliability.png"


def markdown(part: dict[str, Any]) -> str:
    """The end of the report of an evaluation.

    Parameters
    ----------
    part : what ``calibrating.Calibrated.about`` returns
    """
    lines = ["", f"Calibrated on {part['n_clips']} {part['clips']}: temperature "]
    lines[-1] += f"{part['temperature']:.3f}, thresholds for the {part['aim']}."
    if part["never_tagged"]:
        never = ", ".join(part["never_tagged"])
        lines[-1] += f" Never tags, for want of clips or precision: {never}."
    if "ece_before" not in part:
        return "\n".join([*lines, ""])
    lines += ["", "On test clips, with a calibration that was fitted on other clips: the expected "]
    lines[-1] += (
        "calibration error (ECE) of the scores, and what tags above their thresholds reach."
    )
    lines += ["", "| ECE before | ECE after | F1 micro | F1 macro | precision | recall |"]
    names = ("ece_before", "ece_after", "micro_f1", "macro_f1", "precision", "recall")
    lines += ["|---" * 6 + "|", f"| {' | '.join(f'{part[name]:.3f}' for name in names)} |"]
    lines += ["", f"![reliability diagram]({RELIABILITY})", ""]
    return "\n".join(lines)

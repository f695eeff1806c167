"""Which strategy fits which family of backbones, with its trainable parameters: from shapes alone, no weights.

    python benchmarks/compatibility.py

writes ``leaderboard/compatibility.md``.
"""

from __future__ import annotations

from pathlib import Path

from peftcorr.backbones import BACKBONES
from peftcorr.engine.cost import parameter_counts
from peftcorr.errors import PeftCorrError
from peftcorr.strategies import STRATEGIES

PAGE = Path(__file__).resolve().parents[1] / "leaderboard" / "compatibility.md"
FAMILIES = (
    "dinov2_vits14",
    "dinov3_vits16",
    "dinov3_convnext_tiny",
    "sam_vitb",
    "sd15",
    "fusion",
    "timm/vit_base_patch16_224",
    "timm/eva02_base_patch14_224",
    "timm/swin_tiny_patch4_window7_224",
    "timm/convnext_tiny",
    "timm/resnet50",
)


def main() -> None:
    """Write the page."""
    strategies = [*(name for name in STRATEGIES.names() if name != "peft"), "lora+norm"]
    rows: dict[str, list[str]] = {name: [] for name in strategies}
    reasons: list[str] = []
    for family in FAMILIES:
        cls = BACKBONES.get(family)
        for name, counts in parameter_counts(cls, strategies):
            if isinstance(counts, PeftCorrError):
                reason = f"`{family}`: {counts}"
                if reason not in reasons:
                    reasons.append(reason)
                rows[name].append(f"no [{reasons.index(reason) + 1}]")
            else:
                rows[name].append(f"{counts[0]:,}")
    lines = [
        "# Which strategy fits which backbone",
        "",
        "Trainable parameters at the strategies' default options, one backbone of each family; written by",
        "`python benchmarks/compatibility.py` from the code alone. Where it says no, the reason is below: other",
        "options (targets, blocks) may fit.",
        "",
        "| | " + " | ".join(f"`{family}`" for family in FAMILIES) + " |",
        "| --- |" + " ---: |" * len(FAMILIES),
        *(f"| `{name}` | " + " | ".join(cells) + " |" for name, cells in rows.items()),
        "",
        *(f"{number}. {reason}" for number, reason in enumerate(reasons, 1)),
    ]
    PAGE.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(PAGE)


if __name__ == "__main__":
    main()

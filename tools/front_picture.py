"""Draw docs/images/guided_latents.png, the picture of the README, from runs/published/."""

import json
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).parent.parent
PUBLISHED = ROOT / "runs" / "published"
# Rows of glyphs_attributes.png that show the same drawing, and the part of a row that is decoded.
ROWS = {"slant": 17, "size": 211, "stroke thickness": 406}
LEFT, RIGHT, HEIGHT = 229, 683, 54
ARMS = {
    "vae": "VAE, not guided",
    "vae_augmented": "VAE, augmented images",
    "guided_unsupervised": "VAE guided without labels\n(deformable PCA)",
    "classifier": "labels alone: a classifier",
    "guided_supervised": "VAE guided by class labels\n(excitation and inhibition)",
}
COLOURS = ("0.6", "0.6", "#7aa6c2", "0.6", "#2a6f97")


def main() -> None:
    """Traversals of three guided latents, and few-shot errors with guidance and without."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.5, 3.1), dpi=110)
    left, right = figure.subfigures(1, 2, width_ratios=[1.15, 1])
    _traversals(left)
    _errors(right)
    file = ROOT / "docs" / "images" / "guided_latents.png"
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file)


def _traversals(panel) -> None:
    panel.suptitle("One latent for each attribute: moving it changes that attribute", fontsize=10)
    source = Image.open(PUBLISHED / "glyphs_attributes.png").convert("L")
    axes = panel.subplots(3, 1)
    panel.subplots_adjust(left=0.2, right=0.98, top=0.86, bottom=0.13, hspace=0.05)
    for axis, (name, top) in zip(axes, ROWS.items(), strict=True):
        axis.imshow(source.crop((LEFT, top, RIGHT, top + HEIGHT)), cmap="gray", aspect="auto")
        axis.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
        axis.set(xticks=[], yticks=[])
    axes[-1].set_xlabel("value of the latent, from −3 to +3", fontsize=9)


def _errors(panel) -> None:
    panel.suptitle("Error on new Omniglot characters, 5-way 1-shot", fontsize=10)
    axis = panel.subplots()
    panel.subplots_adjust(left=0.38, right=0.92, top=0.86, bottom=0.2)
    rows = json.loads((PUBLISHED / "omniglot_compare.json").read_text())["rows"]
    found = {
        row["arm"]: row
        for row in rows
        if row["learner"] == "prototypical"
        and row["latents"] == "all"
        and (row["n_way"], row["n_shot"]) == (5, 1)
    }
    for place, arm in enumerate(ARMS):
        row = found[arm]
        low, high = row["error_ci95"]
        axis.barh(place, row["error"], color=COLOURS[place], height=0.6)
        axis.plot([low, high], [place, place], color="black", linewidth=1.5)
        axis.text(high + 0.7, place, f"{row['error']:.1f} %", va="center", fontsize=9)
    axis.set_yticks(range(len(ARMS)), list(ARMS.values()), fontsize=9)
    axis.set_xlabel("error in %; line: 95 % interval", fontsize=9)
    axis.set_xlim(0, 46)
    axis.invert_yaxis()
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)


if __name__ == "__main__":
    main()

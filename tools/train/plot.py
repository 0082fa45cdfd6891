"""Draws the learning curves of the logs: python -m tools.train.plot [log folder] -> curves.png beside them."""

import csv
import sys
from pathlib import Path


def column(rows: list[dict], name: str) -> tuple[list[float], list[float]]:
    x, y = [], []
    for r in rows:
        try:
            x.append(float(r["seconds"])), y.append(float(r[name]))
        except (ValueError, TypeError):
            del x[len(y):]
    return x, y


def main() -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "log"
    logs = {n: list(csv.DictReader(open(folder / f"{n}.csv"))) for n in ("vae", "scorer", "dit")}
    figure, (a, b, c, d) = plt.subplots(1, 4, figsize=(19, 4.2), constrained_layout=True)
    a.plot(*column(logs["vae"], "heldout_psnr"), label="mean")
    a.plot(*column(logs["vae"], "heldout_worst"), label="worst of 256")
    a.set(title="autoencoder, held-out pictures", xlabel="seconds", ylabel="PSNR, dB")
    for name in ("animal", "color", "accessory", "action", "label"):
        b.plot(*column(logs["scorer"], name), label=name)
    b.set(title="scorer, held-out pictures", xlabel="seconds", ylabel="accuracy")
    c.plot(*column(logs["dit"], "generation_loss"), label="generating")
    c.plot(*column(logs["dit"], "editing_loss"), label="editing")
    c.set(title="transformer and text encoder", xlabel="seconds", ylabel="velocity loss", yscale="log")
    probes = [(float(r["seconds"]), dict(p.split("=") for p in r["scores"].split())) for r in logs["dit"] if r["scores"]]
    for name in ("animal", "accessory", "action", "edit_done", "done:_replace_label_text", "edit_ssim"):
        d.plot([t for t, _ in probes], [float(s[name]) for _, s in probes], marker="o", label=name.replace("_", " "))
    d.set(title="200 held-out prompts and edits while training", xlabel="seconds", ylabel="score")
    for axis in (a, b, c, d):
        axis.legend(fontsize=8)
        axis.grid(alpha=0.3)
    figure.savefig(folder / "curves.png", dpi=80)


if __name__ == "__main__":
    main()

"""Do other programs read what `inkling quantize` writes? Makes a model of the true widths with two blocks, quantizes it to
every type, lets each program load it and compute, and compares. See README.md.
"""

import argparse
import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path

import checkpoint
import pictures
import reference
from safetensors.torch import load_file, save_file

HERE = Path(__file__).resolve().parent
SAFETENSORS, GGUF = ("fp8", "w8a8", "w4a8", "nf4"), ("q8_0", "q6_k", "q5_k", "q4_k", "q4_0")
COSINE = 0.999  # of two forwards of one file
WEIGHTS = 1e-3  # relative distance of two unpackings, both rounded to bfloat16


@dataclasses.dataclass
class Row:
    program: str
    file: str
    read: bool = False
    matrices: int = 0
    weights_equal: float | None = None
    weights_distance: float | None = None
    cosine_own: float | None = None  # with the forward of inkling's unpacking of the same file
    cosine_source: float | None = None  # with the forward of the bf16 model
    picture: float | None = None  # dB, with inkling's picture from the same file
    note: str = ""
    seen: dict = dataclasses.field(default_factory=dict)

    @property
    def agrees(self) -> bool:
        return (
            self.read
            and (self.cosine_own is None or self.cosine_own >= COSINE)
            and (self.weights_distance is None or self.weights_distance <= WEIGHTS)
            and (self.picture is None or self.picture >= (pictures.INT8_AGREE if self.file == "w8a8" else pictures.AGREE))
        )


def cells(row: Row) -> list[str]:
    def number(value: float | None, format_: str) -> str:
        return "" if value is None else format(value, format_)

    return [
        row.program,
        row.file,
        "yes" if row.agrees else "wrong" if row.read else "no",
        str(row.matrices or ""),
        number(row.weights_equal, ".4%"),
        number(row.cosine_own, ".6f"),
        number(row.cosine_source, ".6f"),
        number(row.picture, ".1f"),
        row.note,
    ]


HEADERS = ["program", "file", "reads", "matrices", "equal weights", "cos same", "cos bf16", "picture dB", "note"]


class Bench:
    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.work: Path = args.work
        self.model = self.work / "model"
        self.source = self.model / "transformer/diffusion_pytorch_model.safetensors"
        self.config = checkpoint.transformer_config(args.blocks)
        self.rows: list[Row] = []

    def inkling(self, *arguments: object) -> None:
        subprocess.run([self.args.inkling, *map(str, arguments)], check=True, capture_output=True)

    def prepare(self) -> None:
        self.work.mkdir(parents=True, exist_ok=True)
        if not (self.model / "model_index.json").exists():
            shutil.rmtree(self.model, ignore_errors=True)
            checkpoint.write_model(self.model, self.args.tokenizer, self.args.blocks, layers=2)
        save_file(reference.inputs(), self.work / "inputs.safetensors")
        self.truth = reference.velocity(self.source, self.config)

    def quantized(self, type_: str) -> Path:
        path = self.work / f"{type_}.{'gguf' if type_ in GGUF else 'safetensors'}"
        path.unlink(missing_ok=True)
        self.inkling("quantize", "--to", type_, self.source, path)
        return path

    def unpacked(self, file: Path) -> Path:
        path = self.work / "unpacked.safetensors"
        path.unlink(missing_ok=True)
        self.inkling("quantize", "--to", "bf16", file, path)
        return path

    def ask(self, row: Row, command: list[object], out: Path) -> bool:
        """Runs a reader; false where it gave no velocity."""
        done = subprocess.run([str(c) for c in command], capture_output=True, text=True, cwd=self.work)
        self.rows.append(row)
        if done.returncode != 0:
            errors = [line.strip() for line in done.stderr.splitlines() if "rror" in line or "mismatch" in line]
            row.note = (errors or ["failed"])[-1][:160]
            return False
        row.read = True
        row.seen = json.loads(done.stdout.splitlines()[-1])
        row.note = ", ".join(f"{count} {kind}" for kind, count in sorted(row.seen["linears"].items()))
        row.note += "".join(f"; {warning}" for warning in row.seen["warnings"])
        return out.exists()

    def compare(self, row: Row, out: Path, unpacked: Path, own) -> None:
        got = load_file(out)["velocity"]
        got = reference.pack(got) if got.ndim == 5 else got
        row.cosine_own, row.cosine_source = reference.cosine(got, own), reference.cosine(got, self.truth)
        weights = reference.WeightComparison()
        weights.add_file(out, unpacked)
        if weights.matrices:
            row.matrices, row.weights_equal, row.weights_distance = weights.matrices, weights.share, weights.worst
        out.unlink()

    def comfyui(self, type_: str, file: Path, unpacked: Path, own) -> None:
        gguf = type_ in GGUF
        if self.args.comfyui is None or (gguf and self.args.comfyui_gguf is None):
            return
        row, out = Row("ComfyUI-GGUF" if gguf else "ComfyUI", type_), self.work / "out.safetensors"
        command = [self.args.comfyui_python, HERE / "read_comfyui.py", self.args.comfyui, file, "inputs.safetensors", out]
        if self.ask(row, command + ([self.args.comfyui_gguf] if gguf else []), out):
            self.compare(row, out, unpacked, own)

    def diffusers(self, unpacked: Path, own) -> None:
        folder, out = self.work / "model-nf4", self.work / "out.safetensors"
        shutil.rmtree(folder, ignore_errors=True)
        self.inkling("quantize", "--to", "nf4", self.model, folder)
        row = Row("diffusers", "nf4")
        command = [sys.executable, HERE / "read_diffusers.py", folder / "transformer", "inputs.safetensors", out]
        if self.ask(row, command, out):
            self.compare(row, out, unpacked, own)
        shutil.rmtree(folder)

    def sd_cpp(self, type_: str, file: Path, unpacked: Path) -> None:
        if self.args.sd_cli is None:
            return
        row = Row("stable-diffusion.cpp", type_)
        self.rows.append(row)
        if type_ in GGUF:
            weights = pictures.convert_and_compare(self.args.sd_cli, file, unpacked, self.work)
            row.matrices, row.weights_equal, row.weights_distance = weights.matrices, weights.share, weights.worst
        size, threads = (pictures.INT8_SIZE, pictures.INT8_THREADS) if type_ == "w8a8" else (self.args.size, -1)
        theirs, error = pictures.theirs(self.args.sd_cli, self.model, file, self.work, size, threads)
        row.note = error
        if theirs is not None:
            row.read = True
            ours = pictures.ours(self.args.inkling, self.model, file, self.work, size)
            row.picture = pictures.psnr(theirs, ours)

    def picture_scale(self) -> None:
        """What a picture says: of the same weights in both programs, and of weights in the wrong places."""
        if self.args.sd_cli is None:
            return
        ours = pictures.ours(self.args.inkling, self.model, self.source, self.work, self.args.size)
        theirs, error = pictures.theirs(self.args.sd_cli, self.model, self.source, self.work, self.args.size)
        row = Row("stable-diffusion.cpp", "bf16", read=theirs is not None, note=error)
        row.picture = pictures.psnr(theirs, ours) if theirs is not None else None
        self.rows.append(row)
        swapped = self.work / "swapped.safetensors"
        checkpoint.swap_matrices(self.source, swapped)
        self.wrong = pictures.psnr(pictures.ours(self.args.inkling, self.model, swapped, self.work, self.args.size), ours)
        swapped.unlink()

    def run(self) -> None:
        self.prepare()
        self.comfyui("bf16", self.source, self.source, self.truth)
        self.picture_scale()
        for type_ in self.args.types:
            print(f"# {type_}", file=sys.stderr, flush=True)
            file = self.quantized(type_)
            unpacked = self.unpacked(file)
            own = reference.velocity(unpacked, self.config)
            self.comfyui(type_, file, unpacked, own)
            if type_ == "nf4":
                self.diffusers(unpacked, own)
            self.sd_cpp(type_, file, unpacked)
            unpacked.unlink()
            file.unlink()

    def report(self) -> bool:
        print("| " + " | ".join(HEADERS) + " |\n|" + "---|" * len(HEADERS))
        for row in self.rows:
            print("| " + " | ".join(cells(row)) + " |")
        if self.args.sd_cli is not None:
            print(f"\nThe MLPs of the two streams in each other's place: {self.wrong:.1f} dB.")
        (self.work / "interop.json").write_text(json.dumps([dataclasses.asdict(r) for r in self.rows], indent=2))
        promised = {("ComfyUI", t) for t in ("bf16", "fp8", "w8a8", "w4a8")} | {("diffusers", "nf4")}
        promised |= {(p, t) for p in ("ComfyUI-GGUF", "stable-diffusion.cpp") for t in GGUF}
        promised.add(("stable-diffusion.cpp", "w8a8"))
        broken = [r for r in self.rows if (r.program, r.file) in promised and not r.agrees]
        for row in broken:
            print(f"{row.program} does not read {row.file} as inkling does", file=sys.stderr)
        return not broken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inkling", type=Path, default=Path("build/bin/inkling"))
    parser.add_argument("--work", type=Path, required=True, help="folder for 10 GB of files")
    parser.add_argument("--comfyui", type=Path, help="folder of ComfyUI")
    parser.add_argument("--comfyui-python", default=sys.executable, help="the Python that it runs in")
    parser.add_argument("--comfyui-gguf", type=Path, help="folder of ComfyUI-GGUF")
    parser.add_argument("--sd-cli", type=Path, help="stable-diffusion.cpp's program")
    parser.add_argument("--tokenizer", type=Path, help="vocab.json and merges.txt of Qwen2.5; default: ComfyUI's")
    parser.add_argument("--types", nargs="*", default=SAFETENSORS + GGUF, choices=SAFETENSORS + GGUF)
    parser.add_argument("--blocks", type=int, default=2)
    parser.add_argument("--size", type=int, default=128, help="of the picture")
    args = parser.parse_args()
    for name in ("inkling", "work", "comfyui", "comfyui_gguf", "sd_cli", "tokenizer"):
        if getattr(args, name) is not None:
            setattr(args, name, getattr(args, name).resolve())
    if args.tokenizer is None:
        if args.comfyui is None:
            parser.error("--tokenizer or --comfyui is needed")
        args.tokenizer = args.comfyui / "comfy/text_encoders/qwen25_tokenizer"
    bench = Bench(args)
    bench.run()
    sys.exit(0 if bench.report() else 1)


if __name__ == "__main__":
    main()

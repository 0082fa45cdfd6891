#!/usr/bin/env python3
"""Compares the fp32 goldens with the same runs in double precision.

The result is the rounding noise of the reference itself: no fp32 implementation can be asked for less.
"""

import argparse
import json
import warnings

import numpy as np
import torch
from diffusers.pipelines.qwenimage import pipeline_qwenimage, pipeline_qwenimage_edit, pipeline_qwenimage_edit_plus
from safetensors.torch import load_file

import cases
from trace import Recorder


class DoubleRecorder(Recorder):
    def add(self, name, tensor):
        tensor = tensor if isinstance(tensor, torch.Tensor) else torch.as_tensor(np.array(tensor))
        self.tensors[name] = tensor.detach().clone()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("goldens", help="an output folder of make_goldens.py")
    parser.add_argument("--case", nargs="+", default=["t2i_cfg", "t2i_many_steps", "edit2509_2ref", "edit2511"])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    warnings.filterwarnings("ignore")

    for module in (pipeline_qwenimage, pipeline_qwenimage_edit, pipeline_qwenimage_edit_plus):
        draw = module.randn_tensor  # the noise itself stays the fp32 draw
        module.randn_tensor = lambda *a, draw=draw, **k: draw(*a, **{**k, "dtype": torch.float32}).double()

    for name in arguments.case:
        context = cases.Context(arguments.goldens, pictures=False)
        folder = context.root / "cases" / name
        case = json.loads((folder / "case.json").read_text())
        pipe = context.pipeline(case["checkpoint"].split("/")[-1], fresh=True)
        for model in (pipe.transformer, pipe.vae, pipe.text_encoder):
            model.double()
        recorder = DoubleRecorder()
        cases.run_pipeline(context, case, pipe, recorder)
        single = load_file(folder / "trace.safetensors")
        rows = []
        for key, exact in recorder.tensors.items():
            if key in single and exact.dtype == torch.float64:
                difference = exact - single[key].double()
                rows.append((float(difference.norm() / exact.norm()), float(difference.abs().max()), key))
        levels = (recorder.tensors["image"].int() - single["image"].int()).abs()
        share = float((levels > 0).float().mean())
        print(f"{name}: picture differs in {share:.1e} of its values, by at most {int(levels.max())}")
        for relative, largest, key in sorted(rows, reverse=True)[:5]:
            print(f"  {relative:.1e} relative, {largest:.1e} absolute: {key}")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Writes tiny random checkpoints and the reference results of running them."""

import argparse
import logging
import time
import warnings

import torch


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("outdir")
    parser.add_argument("--case", nargs="+", metavar="NAME", help="only these cases")
    parser.add_argument("--list", action="store_true", help="print the case names and stop")
    arguments = parser.parse_args()

    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    warnings.filterwarnings("ignore")
    import diffusers
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    diffusers.logging.set_verbosity_error()
    diffusers.logging.disable_progress_bar()
    logging.getLogger("tqdm").setLevel(logging.ERROR)

    import cases

    if arguments.list:
        print("\n".join(cases.CASES))
        return
    context = cases.Context(arguments.outdir)
    for name in arguments.case or cases.CASES:
        start = time.time()
        cases.CASES[name](context)
        print(f"{name}: {time.time() - start:.1f} s", flush=True)


if __name__ == "__main__":
    main()

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
    parser.add_argument("--fixtures", action="store_true", help="the small committed set instead, with its vectors")
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

    selection = cases.FIXTURES if arguments.fixtures else cases.CASES
    if arguments.list:
        print("\n".join(selection))
        return
    context = cases.Context(arguments.outdir, pictures=not arguments.fixtures)
    for name in arguments.case or selection:
        start = time.time()
        selection[name](context)
        print(f"{name}: {time.time() - start:.1f} s", flush=True)
    if arguments.fixtures and not arguments.case:
        import make_vectors

        make_vectors.write_small(context.root / "vectors", context.root / "checkpoints" / "small-t2i" / "tokenizer")


if __name__ == "__main__":
    main()

"""Projects the time of a step, and of a picture, onto consumer cards from fractions measured on another card.

No consumer card was at hand: what this prints is arithmetic, not a measurement. A kernel that reaches a fraction f of
its ceiling on the measured card (the rate of bare mma.sync instructions, or the memory's copy bandwidth) is assumed to
reach the same f of the ceiling of the consumer card. For the matrix products that is on the careful side: a consumer
multiprocessor has 2.4 times fewer tensor operations to feed from the same shared memory, and executes 2.4 times fewer
of them per ordinary instruction.

  products   = 24 * 3072^2 * 60 * tokens / (w4a8_fraction * int8 rate)
  attention  = 2 * tokens^2 * 3072 * 60 / (attention_fraction * rate of Q K^T) + the same for P V
  rest       = elementwise_bytes_per_token * tokens / (bandwidth_fraction * memory bandwidth)
  streamed   = weights_bytes - (memory - other_bytes), or streamed_bytes where given; at least 0
  copies     = streamed / (PCIE_FRACTION * raw rate of PCIe)
  step       = max(products + attention + rest, copies)
  VAE        = vae_flop / (vae_fraction * bf16 rate with f32 sums)
  picture    = text_bytes / (PCIe as above) + steps * step + VAE

python tools/project_consumer.py measured.json               # the table and one line of arithmetic per cell
python tools/project_consumer.py measured.json --into docs/performance.md
"""
import argparse
import json
import sys

WIDTH, BLOCKS = 3072, 60
PCIE_FRACTION = 0.8  # pinned copies reach 80-88 % of the raw rate
GIB = 2**30
BEGIN, END = "<!-- projection: tools/project_consumer.py -->", "<!-- end of projection -->"

# Dense rates at boost in TFLOP/s or TOP/s; GB/s. bf16: f32 sums. f16: f16 sums. From the makers' SM counts and clocks.
CARDS = {
    "RTX 3060 12 GB": dict(memory=12 * GIB, int8=102, f16=51.0, bf16=25.5, bandwidth=360, pcie=31.5),
    "RTX 3060 Laptop 6 GB (80 W)": dict(memory=6 * GIB, int8=88, f16=43.8, bf16=21.9, bandwidth=336, pcie=15.8),
    "RTX 4060 8 GB": dict(memory=8 * GIB, int8=121, f16=60.5, bf16=30.2, bandwidth=272, pcie=15.8),
    "RTX 5060 8 GB": dict(memory=8 * GIB, int8=153, f16=76.7, bf16=38.4, bandwidth=448, pcie=31.5),
}
RATES = ("int8", "f16", "bf16")
CASE_KEYS = ("tokens", "w4a8_fraction", "attention_fraction", "elementwise_bytes_per_token", "bandwidth_fraction",
             "vae_fraction", "vae_flop", "other_bytes")


class Invalid(Exception):
    pass


def check(measured):
    """Raises Invalid unless `measured` holds every number that the formulas need, in its range."""
    for key in ("device", "date", "steps", "weights_bytes", "text_bytes", "attention", "cases"):
        if key not in measured:
            raise Invalid(f"no {key}")
    for product in ("qk", "pv"):
        if measured["attention"].get(product) not in RATES:
            raise Invalid(f"attention.{product} is {measured['attention'].get(product)!r}, expected one of {RATES}")
    for name, case in measured["cases"].items():
        for key in CASE_KEYS:
            value = case.get(key)
            if not isinstance(value, (int, float)) or value <= 0:
                raise Invalid(f"cases.{name}.{key} is {value!r}, expected a number above 0")
            if key.endswith("_fraction") and value > 1:
                raise Invalid(f"cases.{name}.{key} is {value}, expected a fraction of a ceiling")
    for card in measured.get("streamed_bytes", {}):
        if card not in CARDS:
            raise Invalid(f"streamed_bytes of {card!r}, expected one of {', '.join(CARDS)}")


def project(card_name, case_name, measured):
    """Milliseconds of every part, and lines of arithmetic."""
    card, case = CARDS[card_name], measured["cases"][case_name]
    tokens, lines = case["tokens"], []

    def over(name, work, unit, rate, fraction):
        ms = work / (fraction * rate * 1e12) * 1e3
        lines.append(f"{name} = {work * 1e-12:.3g} {unit} / ({fraction:.3g} * {rate:g} {unit}/s) = {ms:.1f} ms")
        return ms

    def moved(name, size, rate, fraction):
        ms = size / (fraction * rate * 1e9) * 1e3
        lines.append(f"{name} = {size * 1e-9:.3g} GB / ({fraction:.3g} * {rate:g} GB/s) = {ms:.1f} ms")
        return ms

    part = {"products": over("products", 24 * WIDTH**2 * BLOCKS * tokens, "TOP", card["int8"], case["w4a8_fraction"])}
    half = 2 * tokens**2 * WIDTH * BLOCKS
    part["attention"] = sum(
        over(f"attention {name}", half, "TOP", card[measured["attention"][key]], case["attention_fraction"])
        for key, name in (("qk", "Q K^T"), ("pv", "P V")))
    part["rest"] = moved("rest", case["elementwise_bytes_per_token"] * tokens, card["bandwidth"],
                         case["bandwidth_fraction"])
    streamed = measured.get("streamed_bytes", {}).get(card_name, {}).get(case_name)
    if streamed is None:
        room = card["memory"] - case["other_bytes"]
        if room <= 0:
            raise Invalid(f"{card_name}, {case_name}: other_bytes do not fit")
        streamed = max(0, measured["weights_bytes"] - room)
        lines.append(f"streamed = {measured['weights_bytes'] * 1e-9:.3g} GB of weights - {room * 1e-9:.3g} GB of room "
                     f"= {streamed * 1e-9:.3g} GB")
    part["streamed_gb"] = streamed * 1e-9
    part["copies"] = moved("copies", streamed, card["pcie"], PCIE_FRACTION)
    compute = part["products"] + part["attention"] + part["rest"]
    part["step"] = max(compute, part["copies"])
    lines.append(f"step = max({compute:.1f}, {part['copies']:.1f}) = {part['step']:.1f} ms")
    part["vae"] = over("VAE", case["vae_flop"], "TFLOP", card["bf16"], case["vae_fraction"])
    part["text"] = moved("text", measured["text_bytes"], card["pcie"], PCIE_FRACTION)
    part["picture"] = part["text"] + measured["steps"] * part["step"] + part["vae"]
    lines.append(f"picture = {part['text']:.1f} + {measured['steps']} * {part['step']:.1f} + {part['vae']:.1f} "
                 f"= {part['picture']:.1f} ms")
    return part, lines


def report(measured):
    check(measured)
    steps = measured["steps"]
    out = [f"**Projection, not a measurement**: fractions of the ceilings measured on {measured['device']} "
           f"({measured['date']}), times the ceilings of the card named. Milliseconds; {steps} steps without guidance.",
           "",
           f"| card | picture | products | attention | rest | streamed a step | copies | **step** | text | VAE | "
           f"**{steps} steps, all** |", "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|"]
    detail = []
    for card in CARDS:
        for case in measured["cases"]:
            p, lines = project(card, case, measured)
            out.append(f"| {card} | {case} | {p['products']:.0f} | {p['attention']:.0f} | {p['rest']:.0f} | "
                       f"{p['streamed_gb']:.1f} GB | {p['copies']:.0f} | **{p['step']:.0f}** | {p['text']:.0f} | "
                       f"{p['vae']:.0f} | **{p['picture'] / 1e3:.2f} s** |")
            detail += [f"{card}, {case}:"] + ["  " + line for line in lines]
    out += ["", "<details><summary>The arithmetic of every cell</summary>", "", "```"]
    return out + detail + ["```", "", "</details>"]


def insert(text, lines):
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise Invalid(f"expected one '{BEGIN}' and one '{END}' behind it")
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    return before + BEGIN + "\n" + "\n".join(lines) + "\n" + END + after


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("measured", help="JSON of measured fractions")
    parser.add_argument("--into", help="Markdown file whose projection is replaced")
    args = parser.parse_args()
    try:
        with open(args.measured) as f:
            lines = report(json.load(f))
        if not args.into:
            print("\n".join(lines))
            return 0
        with open(args.into) as f:
            text = insert(f.read(), lines)
        with open(args.into, "w") as f:
            f.write(text)
    except (Invalid, OSError, ValueError) as e:
        print(f"project_consumer: {e}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

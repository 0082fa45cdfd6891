"""python tools/test_project_consumer.py"""
import copy
import os
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import project_consumer as pc

# Every kernel at its ceiling, so that results can be worked out by hand.
CEILING = {
    "device": "a card",
    "date": "a day",
    "steps": 4,
    "weights_bytes": 7.3e9,
    "text_bytes": 3.5e9,
    "attention": {"qk": "int8", "pv": "f16"},
    "cases": {
        "512": dict(tokens=1084, w4a8_fraction=1, attention_fraction=1, elementwise_bytes_per_token=10e6,
                    bandwidth_fraction=1, vae_fraction=1, vae_flop=1.1e12, other_bytes=1.2e9),
    },
}


class Projection(unittest.TestCase):
    def test_ceilings_of_a_3060(self):
        p, _ = pc.project("RTX 3060 12 GB", "512", CEILING)
        self.assertAlmostEqual(p["products"], 1084 * 13.589544960e9 / 102e12 * 1e3, places=6)  # 144 ms
        self.assertAlmostEqual(p["attention"], 2 * 1084**2 * 3072 * 60 * (1 / 102e12 + 1 / 51e12) * 1e3, places=6)
        self.assertAlmostEqual(p["rest"], 1084 * 10e6 / 360e9 * 1e3, places=6)
        self.assertEqual(p["streamed_gb"], 0)
        self.assertAlmostEqual(p["step"], p["products"] + p["attention"] + p["rest"])
        self.assertAlmostEqual(p["vae"], 1.1 / 25.5 * 1e3)
        self.assertAlmostEqual(p["picture"], 3.5e9 / (0.8 * 31.5e9) * 1e3 + 4 * p["step"] + p["vae"])

    def test_half_the_fraction_takes_twice_as_long(self):
        slower = copy.deepcopy(CEILING)
        slower["cases"]["512"]["w4a8_fraction"] = 0.5
        fast, slow = (pc.project("RTX 4060 8 GB", "512", m)[0]["products"] for m in (CEILING, slower))
        self.assertAlmostEqual(slow, 2 * fast)

    def test_streams_what_does_not_fit_and_is_bound_by_it(self):
        p, _ = pc.project("RTX 3060 Laptop 6 GB (80 W)", "512", CEILING)
        self.assertAlmostEqual(p["streamed_gb"], 7.3 - (6 * 2**30 - 1.2e9) * 1e-9)
        given = copy.deepcopy(CEILING)
        given["streamed_bytes"] = {"RTX 3060 Laptop 6 GB (80 W)": {"512": 6e9}}
        p, _ = pc.project("RTX 3060 Laptop 6 GB (80 W)", "512", given)
        self.assertAlmostEqual(p["step"], 6e9 / (0.8 * 15.8e9) * 1e3)  # 475 ms: longer than the computing

    def test_report_says_that_it_is_a_projection_and_shows_every_cell(self):
        text = "\n".join(pc.report(CEILING))
        self.assertIn("Projection, not a measurement", text)
        for card in pc.CARDS:
            self.assertIn(f"| {card} | 512 |", text)
            self.assertIn(f"{card}, 512:", text)

    def test_refuses_incomplete_input(self):
        for change, message in [
            (lambda m: m.pop("steps"), "steps"),
            (lambda m: m["attention"].update(pv="int4"), "attention.pv"),
            (lambda m: m["cases"]["512"].pop("vae_flop"), "vae_flop"),
            (lambda m: m["cases"]["512"].update(w4a8_fraction=1.2), "w4a8_fraction"),
            (lambda m: m.update(streamed_bytes={"RTX 9": {}}), "RTX 9"),
            (lambda m: m["cases"]["512"].update(other_bytes=13e9), "do not fit"),
        ]:
            measured = copy.deepcopy(CEILING)
            change(measured)
            with self.assertRaisesRegex(pc.Invalid, message):
                pc.report(measured)

    def test_replaces_the_text_between_the_marks(self):
        text = f"a\n{pc.BEGIN}\nold\n{pc.END}\nb\n"
        once = pc.insert(text, ["new"])
        self.assertEqual(once, f"a\n{pc.BEGIN}\nnew\n{pc.END}\nb\n")
        self.assertEqual(pc.insert(once, ["new"]), once)
        with self.assertRaises(pc.Invalid):
            pc.insert("no marks", [])


if __name__ == "__main__":
    unittest.main()

"""The parts of measure.py that need no device: python tools/peers/test_measure.py"""
import os
import sys
import unittest

sys.path.insert(0, os.path.dirname(__file__))
import measure


class ParseLog(unittest.TestCase):
    def test_times_of_parts_and_steps(self):
        log = (
            "[INFO ] stable-diffusion.cpp:3040 - get_learned_condition completed, taking 2141 ms\n"
            "  |=>       | 1/4 - 15.66s/it\n  |==>      | 4/4 - 14.51s/it\n"
            "[INFO ] stable-diffusion.cpp:3100 - sampling completed, taking 58.30s\n"
        )
        self.assertEqual(
            measure.parse_sd_cpp(log), {"get_learned_condition": 2141.0, "sampling": 58300.0, "step": 14510.0}
        )

    def test_fast_steps_are_given_as_a_rate(self):
        self.assertEqual(measure.parse_sd_cpp("| 20/20 - 4.00it/s"), {"step": 250.0})

    def test_other_text_has_no_times(self):
        self.assertEqual(measure.parse_sd_cpp("error: no such file"), {})


if __name__ == "__main__":
    unittest.main()

def caption(scene, rng, lang=None): return "x"
def instruction(edit, rng, lang=None): return "x"

"""The pictures themselves: brush, palette, animals, accessories, props, places, products."""

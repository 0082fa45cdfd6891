"""The official OpenAI client against a real server: every call, error class and header that it reacts to.

    python3 -m pytest -q tests/server_live/test_openai_client.py      (pip install openai pillow)
"""

import base64
import io
import time

import openai
import pytest
from PIL import Image
from server import Server, png

KEY = "test-key-0123456789abcdef"


@pytest.fixture(scope="module")
def server():
    with Server("--api-key", KEY) as s:
        yield s


@pytest.fixture(scope="module")
def client(server):
    return openai.OpenAI(base_url=server.url + "/v1", api_key=KEY, max_retries=0)


def picture_of(item):
    return Image.open(io.BytesIO(base64.b64decode(item.b64_json)))


def test_models(client):
    models = client.models.list().data
    assert models and all(m.object == "model" and m.owned_by for m in models)
    assert client.models.retrieve(models[0].id).id == models[0].id
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("nothing")


def test_generate(client):
    result = client.images.generate(model="gpt-image-1", prompt="a yellow duck with a red hat", n=2, size="256x256",
                                    quality="high", extra_body={"seed": 4})
    assert len(result.data) == 2 and result.created > 1_700_000_000
    assert picture_of(result.data[0]).format == "PNG" and picture_of(result.data[0]).size == (256, 256)
    assert result.data[0].b64_json != result.data[1].b64_json
    assert result.size == "256x256" and result.output_format == "png" and result.usage.output_tokens == 2


@pytest.mark.parametrize("kind", ["jpeg", "webp", "png"])
def test_output_formats(client, kind):
    result = client.images.generate(prompt="a red cow", output_format=kind, output_compression=60, extra_body={"seed": 1})
    assert picture_of(result.data[0]).format == kind.upper()


def test_unknown_fields_and_nulls_are_legal(client):
    result = client.images.generate(prompt="a cow", user="me", style=None,
                                    extra_body={"seed": 1, "moderation": "low", "something_new": [1], "background": None})
    assert len(result.data) == 1


def test_url_answers(client, server):
    result = client.images.generate(prompt="a pig", response_format="url", extra_body={"seed": 1})
    assert server.get(result.data[0].url).body.startswith(b"\x89PNG")


def test_same_seed_same_bytes(client):
    first = client.images.generate(prompt="a cat", extra_body={"seed": 11}).data[0].b64_json
    assert client.images.generate(prompt="a cat", extra_body={"seed": 11}).data[0].b64_json == first


@pytest.mark.parametrize("count", [1, 3])
def test_edit(client, count):
    files = [(f"{i}.png", png(64, 64, color=(200, 60 * i, 40)), "image/png") for i in range(count)]
    result = client.images.edit(image=files if count > 1 else files[0], prompt="make the background blue", extra_body={"seed": 1})
    assert picture_of(result.data[0]).size == (64, 64)


def test_mask_alpha_zero_is_what_changes(client):
    """The left half is transparent in the mask, so only it may change."""
    source = client.images.generate(prompt="a yellow duck", extra_body={"seed": 3}).data[0]
    original = picture_of(source).convert("RGB")
    mask = png(256, 256, alpha=lambda x, y: 0 if x < 128 else 255)
    result = client.images.edit(image=("a.png", base64.b64decode(source.b64_json), "image/png"), mask=("m.png", mask, "image/png"),
                                prompt="make the background blue", extra_body={"seed": 1})
    edited = picture_of(result.data[0]).convert("RGB")
    # A few pixels at the seam may be blended.
    keep = (140, 0, 256, 256)
    assert edited.crop(keep).tobytes() == original.crop(keep).tobytes()
    assert edited.crop((0, 0, 116, 256)).tobytes() != original.crop((0, 0, 116, 256)).tobytes()


def test_edit_by_json(server):
    data = "data:image/png;base64," + base64.b64encode(png(64, 64)).decode()
    answer = server.post("/v1/images/edits", {"prompt": "make it blue", "images": [{"image_url": data}], "seed": 1})
    assert answer.status == 200 and answer.json()["data"][0]["b64_json"]


@pytest.mark.parametrize("partials", [0, 1, 2])
def test_stream(client, partials):
    events = list(client.images.generate(prompt="a green frog", stream=True, partial_images=partials, extra_body={"seed": 21 + partials}))
    kinds = [e.type for e in events]
    assert kinds == ["image_generation.partial_image"] * partials + ["image_generation.completed"]
    assert [e.partial_image_index for e in events[:-1]] == list(range(partials))
    assert base64.b64decode(events[-1].b64_json).startswith(b"\x89PNG") and events[-1].usage


def test_edit_stream(client):
    events = list(client.images.edit(image=("a.png", png(64, 64), "image/png"), prompt="make it blue", stream=True,
                                     partial_images=1, extra_body={"seed": 1}))
    assert events[-1].type == "image_edit.completed"


def test_errors(client, server):
    with pytest.raises(openai.BadRequestError) as e:
        client.images.generate(prompt="duck", size="7x7")
    assert e.value.param == "width" or e.value.param == "size"
    assert e.value.response.headers["x-request-id"]
    with pytest.raises(openai.BadRequestError):
        client.images.generate(prompt="   ")
    with pytest.raises(openai.BadRequestError) as e:
        client.images.generate(prompt="裸体的女人")
    assert e.value.code == "moderation_blocked" and e.value.body["refusal"]["suggestions"]
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=server.url + "/v1", api_key="wrong-key-0123456789", max_retries=0).models.list()
    with pytest.raises(openai.BadRequestError):
        client.images.edit(image=("a.svg", b"<svg/>", "image/svg+xml"), prompt="x")
    with pytest.raises(openai.BadRequestError) as e:
        client.images.generate(prompt="duck", model="no-such-model")
    assert e.value.param == "model"


def test_the_client_does_not_retry_what_would_fail_again(server):
    calls = []
    transport = openai.DefaultHttpxClient(event_hooks={"request": [lambda r: calls.append(r)]})
    client = openai.OpenAI(base_url=server.url + "/v1", api_key=KEY, max_retries=2, http_client=transport)
    with pytest.raises(openai.BadRequestError):
        client.images.generate(prompt="裸体的女人")
    assert len(calls) == 1


def test_the_client_waits_when_the_line_is_full():
    with Server("--deadline", "2", "--max-batch", "1", synthetic=100) as s:
        client = openai.OpenAI(base_url=s.url + "/v1", api_key="any", max_retries=0)
        for i in range(30):
            s.post("/v1/jobs", {"prompt": "duck", "seed": i, "steps": 4})
        with pytest.raises(openai.RateLimitError) as e:
            client.images.generate(prompt="duck", extra_body={"seed": 99})
        assert e.value.response.headers["x-should-retry"] == "true"
        retrying = openai.OpenAI(base_url=s.url + "/v1", api_key="any", max_retries=6)
        assert retrying.images.generate(prompt="duck", extra_body={"seed": 100}).data


def test_abort_in_the_middle_of_a_stream(server, client):
    stream = client.images.generate(prompt="a blue whale", stream=True, partial_images=3,
                                    extra_body={"seed": 77, "num_inference_steps": 90})
    next(iter(stream))
    before = server.stats()["totals"]["cancelled"]
    stream.close()
    end = time.time() + 5
    while server.stats()["totals"]["cancelled"] == before and time.time() < end:
        time.sleep(0.05)
    assert server.stats()["totals"]["cancelled"] == before + 1

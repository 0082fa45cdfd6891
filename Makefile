# make demo    set up a fresh Debian 12 machine, build, draw a picture and print its path
# make test    set up, build and run the tests
# make build   the program at build/bin/inkling
# Only Debian packages are needed. Without root rights, run `make packages` as root once.

PACKAGES := g++ cmake ninja-build ccache pkg-config libfmt-dev nlohmann-json3-dev libcli11-dev \
  libpng-dev libjpeg62-turbo-dev libwebp-dev liblcms2-dev libicu-dev libdnnl-dev ocl-icd-opencl-dev libhwy-dev libgtest-dev libbenchmark-dev \
  libboost1.81-dev libssl-dev libsqlite3-dev prometheus-cpp-dev libopencc-dev libseccomp-dev
PRESET ?= release
BUILD_DIR := $(if $(filter release,$(PRESET)),build,build-$(PRESET))
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)
DEMO_PROMPT ?= 黄色的小鸭子戴着红色帽子
DEMO_OUTPUT ?= out/demo.png

.PHONY: packages setup build demo test ci format clean

packages:
	$(SUDO) apt-get update -qq
	$(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(PACKAGES)

# Installs only when something is missing, so that a prepared machine needs no root and no network.
setup:
	@if ! dpkg -s $(PACKAGES) >/dev/null 2>&1; then $(MAKE) --no-print-directory packages; fi

build: setup
	cmake --preset $(PRESET) >/dev/null
	cmake --build $(BUILD_DIR)

demo: build
	@mkdir -p $(dir $(DEMO_OUTPUT))
	$(BUILD_DIR)/bin/inkling generate -p "$(DEMO_PROMPT)" -o $(DEMO_OUTPUT)
	@echo "The picture of \"$(DEMO_PROMPT)\" is at $(abspath $(DEMO_OUTPUT))"
	@echo "For the children's page and the photo editor: $(BUILD_DIR)/bin/inkling serve, then open http://127.0.0.1:7860"

test: build
	ctest --test-dir $(BUILD_DIR) --output-on-failure

ci:
	bash .ci/run

format:
	clang-format -i $$(git ls-files '*.cc' '*.h')

clean:
	rm -rf build build-*

# The panel. CMake does the work; `make build` and friends are short names for it.

BUILD ?= build
MODEL ?= models/tiny
OPTIONS ?=
FUZZ_SECONDS ?= 600
MINUTES ?= 20
PYTHON ?= /usr/bin/python3
TINY := $(BUILD)/tiny$(if $(QUICK),-quick)
JOBS := $(shell nproc)

.PHONY: help setup build demo test asan ubsan tsan fuzz bench soak churn tiny install deb checkdeb clean

help: ## this list
	@sed -nE 's/^([a-z]+):[^#]*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

setup: ## install what the build needs and is missing (apt)
	@scripts/setup.sh build

build: setup ## the program ./omni and the library (OPTIONS: CMake's, such as OPTIONS=-DOMNI_CUDA=ON)
	@cmake -G Ninja -S . -B $(BUILD) -DOMNI_TESTS=OFF $(if $(PREFIX),-DCMAKE_INSTALL_PREFIX=$(PREFIX)) --log-level=WARNING $(OPTIONS)
	@cmake --build $(BUILD) -j $(JOBS)
	@ln -sf $(BUILD)/omni omni

demo: build ## answer a spoken question with the bundled model, into reply.wav
	./omni ask -m $(MODEL) $(MODEL)/questions/1.wav -o reply.wav

test: ## build and run all tests
	@scripts/test.sh $(BUILD)/test

asan: ## all tests under the address sanitizer
	@scripts/test.sh $(BUILD)/asan -DOMNI_SANITIZE=address

ubsan: ## all tests under the undefined-behaviour sanitizer
	@scripts/test.sh $(BUILD)/ubsan -DOMNI_SANITIZE=undefined

tsan: ## all tests under the thread sanitizer
	@scripts/test.sh $(BUILD)/tsan -DOMNI_SANITIZE=thread

fuzz: ## each fuzzer for FUZZ_SECONDS (600)
	@scripts/setup.sh fuzz
	@scripts/fuzz.sh $(BUILD)/fuzz $(FUZZ_SECONDS)

bench: build ## where the time goes, on the bundled model
	./omni bench -m $(MODEL) $(MODEL)/questions/1.wav

soak: build ## a server at full load for MINUTES (20), with clients that misbehave
	@scripts/setup.sh test
	$(PYTHON) tests/soak/soak.py $(BUILD)/omni -m $(MODEL) --minutes $(MINUTES)

churn: build ## ten thousand clients that come and go, a hundred that are killed
	@scripts/setup.sh test
	$(PYTHON) tests/soak/churn.py $(BUILD)/omni -m $(MODEL)

tiny: build ## train models/tiny from nothing (hours; QUICK=1: every step in minutes, learning next to nothing)
	@scripts/setup.sh tiny
	lab/tiny/run.sh $(if $(QUICK),--quick) $(TINY)
	./omni info $(TINY)/gguf
	./omni ask -m $(TINY)/gguf $(TINY)/gguf/questions/1.wav -o reply.wav

# What was built is not built again: root has another home and another llama.cpp cache.
install: ## what `make build` made: program, library, header, model (DESTDIR and PREFIX as usual, PREFIX for build too)
	@[ -x $(BUILD)/omni ] && [ -e $(BUILD)/libomni.so ] && [ -e $(BUILD)/omni.bash ] \
	    $(if $(PREFIX),&& grep -qx 'CMAKE_INSTALL_PREFIX:PATH=$(PREFIX)' $(BUILD)/CMakeCache.txt) || $(MAKE) build
	@cmake --install $(BUILD)

deb: ## a Debian package in build/deb, for any x86-64-v3 or 64-bit Arm
	@scripts/setup.sh deb
	@cmake -G Ninja -S . -B $(BUILD)/deb -DOMNI_DEB=ON -DOMNI_NATIVE=OFF -DOMNI_TESTS=OFF -DCMAKE_INSTALL_PREFIX=/usr \
	    --log-level=WARNING $(DEB_OPTIONS)
	@cmake --build $(BUILD)/deb -j $(JOBS)
	@cd $(BUILD)/deb && rm -f *.deb && cpack --config CPackConfig.cmake >cpack.log || { cat cpack.log; exit 1; }
	@ls $(BUILD)/deb/*.deb

checkdeb: deb ## as root: the package and the Dockerfile's steps, in a fresh Debian 12
	@scripts/setup.sh package
	@python3 scripts/check-package.py $(BUILD)/deb $(BUILD)/package

clean: ## remove everything built here (llama.cpp stays in the cache)
	rm -rf $(BUILD) omni reply.wav

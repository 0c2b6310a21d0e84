# What one does with a clone. `make demo` and `make test` install what they need.
.DEFAULT_GOAL := help
.PHONY: help demo demo-fleet demo-down test check bench bench-quick bench-full lab-setup lab-up lab-down lab-status

help:
	@echo 'make demo        from bare Debian hosts on this machine to a control plane in virtual machines: some minutes (root)'
	@echo 'make demo-fleet  8 Debian hosts without virtual machines, which is quicker (root)'
	@echo 'make demo-down   take the hosts of both down'
	@echo 'make test        run all tests; those on real hosts need root'
	@echo 'make check       formatting, lints, documentation, licences'
	@echo 'make bench-quick measure beside the floor and pyinfra, on 10 hosts; also bench and bench-full (root)'
	@echo 'make lab-up      boot the demo hosts and do nothing with them; also lab-setup, lab-status, lab-down'

demo:
	@scripts/demo

demo-fleet:
	@scripts/demo-fleet

demo-down lab-down:
	@tests/lab/lab down --name demo
	@tests/lab/lab down --name fleet

test:
	@scripts/test

check:
	@scripts/check

bench:
	@scripts/bench standard

bench-quick:
	@scripts/bench quick

bench-full:
	@scripts/bench full

lab-setup:
	@tests/lab/lab setup

lab-up: lab-setup
	@scripts/tools build && cargo build --locked && tests/lab/lab up inventories/demo --name fleet

lab-status:
	@tests/lab/lab status --name fleet

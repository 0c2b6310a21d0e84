//! Tests on real hosts: own systemd, own sshd, own network, apt from a signed mirror.
//!
//! Each test boots the hosts it needs and takes them down. Every change is applied twice over: the plan after an apply
//! must be empty.
#![expect(clippy::disallowed_methods, reason = "the files are the tests' own")]

mod audit;
mod control_plane;
mod faults;
mod firewall;
mod fleet;
mod guests;
mod hypervisors;
mod kinds;
mod libvirt;
mod lockout;
mod names;
mod network;
mod order;
mod own_kernel;
mod runs;
mod trouble;
mod underlay;
mod verify;
mod volume_groups;

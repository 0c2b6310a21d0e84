//! The script that tries connections from a host, and the reader of what it says.
//!
//! One program of `perl-base`, which every Debian host has, tries everything at once with one deadline. What must not connect
//! is tried twice: by a socket, and by packets that get around the host's own filter, because what only the source holds
//! back is open to whoever owns the source.

use std::collections::BTreeMap;
use std::net::IpAddr;

use thiserror::Error;

use super::Expected;
use super::expect::Probe;
use crate::model::matrix::Transport;
use crate::sh;
use crate::shell::Script;

/// What the program needs, and the package that brings it.
pub const TOOLS: [(&str, &str); 3] = [("perl", "perl-base"), ("ip", "iproute2"), ("timeout", "coreutils")];

/// How many probes are under way at once: below the 1024 files that a process may usually have open.
pub const AT_ONCE: usize = 900;

const PROGRAM: &str = include_str!("probe.pl");

/// How a probe went out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Way {
    /// By a socket, as any program would.
    Socket,
    /// By packets that were handed to the card, around the source's own filter.
    Packet,
}

/// What a host said of one probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Word {
    /// TCP: it was taken.
    Connected,
    /// UDP: an answer came.
    Answered,
    /// A reset, or for UDP "port unreachable".
    Refused,
    /// Another ICMP error.
    Rejected,
    /// The source's kernel let it not out.
    Withheld,
    /// No route, or nobody on the wire has the next address.
    Unroutable,
    /// The source does not have the address that it was to connect from.
    NoAddress,
    /// Nothing came back.
    Silent,
    /// It could not be sent at all.
    Failed,
}

/// All that one host said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// What came of each probe, by its number and its way.
    pub words: BTreeMap<(usize, Way), Word>,
    /// Addresses on a wire of the host's, with whether they answered there.
    pub neighbours: BTreeMap<IpAddr, bool>,
}

/// Why the answer of a host cannot be read.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum HeardError {
    /// The program did not come to its end.
    #[error("the probes ended early: {last}")]
    Early {
        /// The last line of what it printed.
        last: String,
    },
    /// A line of no known shape.
    #[error("read the line {line:?} of the probes")]
    Line {
        /// The line.
        line: String,
    },
}

/// Returns the script that tries some probes, each with its number, and waits `seconds` for answers.
pub fn script<'a>(probes: impl IntoIterator<Item = (usize, &'a Probe)>, seconds: u32) -> Script {
    let lines: Vec<String> = probes
        .into_iter()
        .map(|(number, probe)| {
            let transport = match probe.transport {
                Transport::Tcp => "tcp",
                Transport::Udp => "udp",
            };
            let ways = match probe.expected {
                Expected::Allowed => "s",
                // Packets of our own are made for IPv4 only.
                Expected::Denied if probe.address.is_ipv4() => "sp",
                Expected::Denied => "s",
            };
            format!("{number},{transport},{},{},{},{ways}", probe.source, probe.address, probe.port)
        })
        .collect();
    let rounds = lines.len().div_ceil(AT_ONCE).max(1);
    let whole = (rounds as u64) * u64::from(seconds) + 15;
    // `printf` is a builtin of the shell: the list may be longer than the arguments of a program.
    sh!("printf '%s\\n' {} | timeout {} perl -e {} {} {}", Script::words(&lines), whole, PROGRAM, seconds, AT_ONCE)
}

/// Reads what the script printed.
///
/// # Errors
/// Where it did not come to its end, or printed what it should not.
pub fn parse(text: &str) -> Result<Heard, HeardError> {
    let mut heard = Heard::default();
    let mut is_whole = false;
    for line in text.lines() {
        let wrong = || HeardError::Line { line: line.to_owned() };
        let words: Vec<&str> = line.split(' ').collect();
        match words.as_slice() {
            ["end"] => is_whole = true,
            [state @ ("neighbour" | "absent"), address] => {
                heard.neighbours.insert(address.parse().map_err(|_| wrong())?, *state == "neighbour");
            }
            [number, way @ ("s" | "p"), word] => {
                let way = if *way == "s" { Way::Socket } else { Way::Packet };
                let number = number.parse().map_err(|_| wrong())?;
                heard.words.insert((number, way), word_of(word).ok_or_else(wrong)?);
            }
            // Whatever perl complains of stands in the error when the end does not come.
            _ => {}
        }
    }
    if is_whole {
        return Ok(heard);
    }
    let last = text.lines().next_back().unwrap_or("they said nothing").to_owned();
    Err(HeardError::Early { last })
}

fn word_of(text: &str) -> Option<Word> {
    Some(match text {
        "connected" => Word::Connected,
        "answered" => Word::Answered,
        "refused" => Word::Refused,
        "rejected" => Word::Rejected,
        "withheld" => Word::Withheld,
        "unroutable" => Word::Unroutable,
        "no-address" => Word::NoAddress,
        "silent" | "dropped" => Word::Silent,
        "failed" => Word::Failed,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe(transport: Transport, address: &str, port: u16, expected: Expected) -> Probe {
        Probe {
            from: "one".into(),
            source: "127.0.0.1".parse().unwrap(),
            to: "two".into(),
            address: address.parse().unwrap(),
            transport,
            port,
            expected,
            flow: None,
        }
    }

    #[test]
    fn an_answer_is_read_to_its_end_or_not_at_all() {
        let heard = parse("3 s connected\n3 p silent\nneighbour 10.0.0.1\nabsent 10.0.0.2\nend\n").unwrap();
        assert_eq!(heard.words[&(3, Way::Packet)], Word::Silent);
        assert_eq!(heard.neighbours.values().copied().collect::<Vec<_>>(), [true, false]);
        assert_eq!(
            parse("3 s connected\nsocket: no\n"),
            Err(HeardError::Early { last: "socket: no".to_owned() }),
            "a program that died has proved nothing"
        );
        assert_eq!(parse("1 s well\nend"), Err(HeardError::Line { line: "1 s well".to_owned() }));
    }

    #[test]
    fn the_program_tells_a_listener_from_a_closed_port() {
        // On the loopback of this machine, with what perl-base has and nothing else.
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let closed = {
            let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            socket.local_addr().unwrap().port()
        };
        let probes = [
            probe(Transport::Tcp, "127.0.0.1", taken.local_addr().unwrap().port(), Expected::Allowed),
            probe(Transport::Tcp, "127.0.0.1", closed, Expected::Allowed),
            probe(Transport::Udp, "127.0.0.1", closed, Expected::Allowed),
        ];
        let script = script(probes.iter().enumerate(), 2);
        let output = std::process::Command::new("sh").arg("-c").arg(script.text()).output().unwrap();
        let heard = parse(&String::from_utf8_lossy(&output.stdout)).unwrap();
        let words: Vec<Word> = heard.words.values().copied().collect();
        assert_eq!(words, [Word::Connected, Word::Refused, Word::Refused]);
    }
}

//! What follows from what was seen: the expected against the words of the hosts, cell by cell.
//!
//! A reset from a port where nobody listens came from the destination's own kernel, so the way there is open; one from a
//! port where somebody listens came from a filter. A datagram that nobody answers says little by itself: without a
//! listener the kernel would have answered "port unreachable", with one only the destination's counters can tell. And
//! of a host that answers nobody nothing is proved at all.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::expect::{Expectations, Probe};
use super::probe::{Heard, Way, Word};
use super::{Cell, Expected, Note, Seen, Verdict};
use crate::addr::HostName;
use crate::model::matrix::{Matrix, Transport};

/// Says whether something listens on a port of an address of a host; none where the host was not asked.
pub type Listens<'a> = dyn Fn(&HostName, IpAddr, Transport, u16) -> Option<bool> + 'a;

/// What is known of the hosts.
pub struct Witness<'a> {
    /// What each host said of its probes.
    pub heard: &'a BTreeMap<HostName, Heard>,
    /// The hosts that could be logged in to.
    pub reached: &'a BTreeSet<HostName>,
    /// The hosts that could not.
    pub unreachable: &'a BTreeSet<HostName>,
    /// Who listens where.
    pub listens: &'a Listens<'a>,
    /// Probes, by number, whose datagrams the destination has counted: an allowed one among those of its flow, a denied
    /// one among those that it has dropped.
    pub counted: &'a BTreeSet<usize>,
}

/// UDP ports on which a question is asked that whoever serves there answers.
const ANSWERED: [u16; 2] = [53, 123];

/// Returns a cell for each probe, in their order.
pub fn judge(expectations: &Expectations, matrix: &Matrix<'_>, witness: &Witness<'_>) -> Vec<Cell> {
    let alive = alive(expectations, witness.heard, witness.reached);
    let cells = expectations.probes.iter().enumerate().map(|(number, probe)| {
        let judged = match witness.heard.get(&probe.from) {
            None if witness.reached.contains(&probe.from) => Judged::untried(Note::ProbesFailed),
            None => Judged::untried(Note::SourceUnreachable),
            Some(heard) => {
                let word = |way: Way| heard.words.get(&(number, way)).copied();
                let is_counted = witness.counted.contains(&number);
                let case = Case { probe, witness, is_alive: alive.contains(&probe.to), is_counted };
                match probe.expected {
                    Expected::Allowed => case.allowed(word(Way::Socket)),
                    Expected::Denied => case.denied(word(Way::Socket), word(Way::Packet)),
                }
            }
        };
        let flow = probe.flow.and_then(|at| matrix.flows().get(at));
        Cell {
            from: probe.from.clone(),
            source: probe.source,
            to: probe.to.clone(),
            address: probe.address,
            transport: probe.transport,
            port: probe.port,
            expected: probe.expected,
            seen: judged.seen,
            verdict: judged.verdict,
            flow: flow.map(|flow| flow.flow.why.value.clone()),
            around: judged.around,
            note: judged.note,
        }
    });
    cells.collect()
}

/// Returns the hosts that have given a sign of life, to the tool or to another host.
pub fn alive(
    expectations: &Expectations,
    heard: &BTreeMap<HostName, Heard>,
    reached: &BTreeSet<HostName>,
) -> BTreeSet<HostName> {
    let mut alive = reached.clone();
    for (number, probe) in expectations.probes.iter().enumerate() {
        let Some(heard) = heard.get(&probe.from) else { continue };
        let has_answered = [Way::Socket, Way::Packet].iter().any(|way| {
            let word = heard.words.get(&(number, *way));
            matches!(word, Some(Word::Connected | Word::Answered | Word::Refused))
        });
        if has_answered || heard.neighbours.get(&probe.address) == Some(&true) {
            alive.insert(probe.to.clone());
        }
    }
    alive
}

struct Judged {
    seen: Seen,
    verdict: Verdict,
    around: Option<Seen>,
    note: Option<Note>,
}

impl Judged {
    fn new(seen: Seen, verdict: Verdict) -> Self {
        Self { seen, verdict, around: None, note: None }
    }

    fn untried(note: Note) -> Self {
        Self::new(Seen::NotTried, Verdict::NotTried).noted(note)
    }

    fn noted(self, note: Note) -> Self {
        Self { note: Some(note), ..self }
    }
}

struct Case<'a> {
    probe: &'a Probe,
    witness: &'a Witness<'a>,
    is_alive: bool,
    is_counted: bool,
}

impl Case<'_> {
    fn listens(&self) -> Option<bool> {
        let Probe { to, address, transport, port, .. } = self.probe;
        (self.witness.listens)(to, *address, *transport, *port)
    }

    /// Returns what a word means here: a reset or "port unreachable" where somebody listens is a filter's.
    fn seen(&self, word: Word) -> Seen {
        match word {
            Word::Connected => Seen::Connected,
            Word::Answered => Seen::Answered,
            Word::Refused if self.listens() == Some(true) => Seen::Rejected,
            Word::Refused => Seen::Refused,
            Word::Rejected => Seen::Rejected,
            Word::Withheld => Seen::Withheld,
            Word::Unroutable | Word::NoAddress => Seen::Unroutable,
            Word::Silent => Seen::Dropped,
            Word::Failed => Seen::NotTried,
        }
    }

    fn allowed(&self, word: Option<Word>) -> Judged {
        let Some(word) = word else { return Judged::untried(Note::ProbesFailed) };
        let seen = self.seen(word);
        match seen {
            Seen::Connected | Seen::Answered | Seen::Refused => return Judged::new(seen, Verdict::Proved),
            Seen::NotTried => return Judged::untried(Note::ProbesFailed),
            _ => {}
        }
        if word == Word::NoAddress {
            return Judged::new(seen, Verdict::Contradicted).noted(Note::NoAddress);
        }
        if matches!(word, Word::Silent | Word::Unroutable) && !self.is_alive && self.is_unreachable() {
            return Judged::new(seen, Verdict::NotTried).noted(Note::DestinationGone);
        }
        if word == Word::Silent && self.probe.transport == Transport::Udp {
            if self.is_counted {
                return Judged::new(Seen::Delivered, Verdict::Proved);
            }
            if self.listens() != Some(false) {
                return Judged::new(Seen::Silent, Verdict::Undecided).noted(Note::NeedNotAnswer);
            }
        }
        let judged = Judged::new(seen, Verdict::Contradicted);
        if self.is_unreachable() { judged.noted(Note::DestinationClosed) } else { judged }
    }

    fn denied(&self, word: Option<Word>, around: Option<Word>) -> Judged {
        let Some(word) = word else { return Judged::untried(Note::ProbesFailed) };
        let is_open = |seen: Seen| matches!(seen, Seen::Connected | Seen::Answered | Seen::Refused);
        let seen = self.seen(word);
        let around = around.map(|word| self.seen(word)).filter(|seen| *seen != Seen::NotTried);
        if is_open(seen) {
            return Judged { around, ..Judged::new(seen, Verdict::Contradicted) };
        }
        if let Some(around) = around.filter(|seen| is_open(*seen)) {
            let judged = Judged::new(seen, Verdict::Contradicted).noted(Note::HeldBackBySource);
            return Judged { around: Some(around), ..judged };
        }
        if word == Word::NoAddress {
            return Judged::untried(Note::NoAddress);
        }
        if seen == Seen::NotTried {
            return Judged::untried(Note::ProbesFailed);
        }
        if !self.is_alive && self.is_unreachable() {
            return Judged::new(seen, Verdict::NotTried).noted(Note::DestinationGone);
        }
        let is_udp = self.probe.transport == Transport::Udp;
        let is_rejected = seen == Seen::Rejected || around == Some(Seen::Rejected);
        let is_told = is_rejected || self.is_counted || ANSWERED.contains(&self.probe.port);
        if is_udp && !is_told && self.listens() != Some(false) {
            return Judged { around, ..Judged::new(Seen::Silent, Verdict::Undecided).noted(Note::NeedNotAnswer) };
        }
        let judged = Judged { around, ..Judged::new(seen, Verdict::Proved) };
        let is_tried = matches!(around, Some(Seen::Dropped | Seen::Rejected));
        if is_tried { judged } else { judged.noted(Note::AroundNotTried) }
    }

    fn is_unreachable(&self) -> bool {
        self.witness.unreachable.contains(&self.probe.to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The destination, as the tool finds it.
    #[derive(Clone, Copy, PartialEq, Eq)]
    enum There {
        Reached,
        Closed,
        Gone,
    }

    fn case(
        expected: Expected,
        door: (Transport, u16),
        (socket, packet): (Word, Option<Word>),
        listens: Option<bool>,
        there: There,
    ) -> (Seen, Verdict, Option<Note>) {
        let probe = Probe {
            from: "one".into(),
            source: "10.0.0.1".parse().unwrap(),
            to: "two".into(),
            address: "10.0.0.2".parse().unwrap(),
            transport: door.0,
            port: door.1,
            expected,
            flow: None,
        };
        let mut heard = Heard::default();
        heard.words.insert((0, Way::Socket), socket);
        heard.words.extend(packet.map(|word| ((0, Way::Packet), word)));
        heard.neighbours.insert(probe.address, there != There::Gone);
        let mut reached = BTreeSet::from([HostName::from("one")]);
        let mut unreachable = BTreeSet::new();
        if there == There::Reached { &mut reached } else { &mut unreachable }.insert(HostName::from("two"));
        let inventory = crate::model::inventory::Inventory::default();
        let matrix = Matrix::build(&inventory, &mut crate::diag::Diagnostics::default());
        let witness = Witness {
            heard: &BTreeMap::from([(HostName::from("one"), heard)]),
            reached: &reached,
            unreachable: &unreachable,
            listens: &|_, _, _, _| listens,
            counted: &BTreeSet::new(),
        };
        let expectations = Expectations { probes: vec![probe], ..Expectations::default() };
        let cells = judge(&expectations, &matrix, &witness);
        (cells[0].seen, cells[0].verdict, cells[0].note)
    }

    const TCP: (Transport, u16) = (Transport::Tcp, 2379);
    const UDP: (Transport, u16) = (Transport::Udp, 514);
    const NTP: (Transport, u16) = (Transport::Udp, 123);

    #[test]
    fn an_allowed_flow_is_proved_by_who_takes_it_and_by_a_port_where_nobody_listens() {
        use There::{Closed, Gone, Reached};
        use Verdict::{Contradicted, NotTried, Proved, Undecided};
        let told = |door, word, listens, there| case(Expected::Allowed, door, (word, None), listens, there);
        assert_eq!(told(TCP, Word::Connected, Some(true), Reached), (Seen::Connected, Proved, None));
        assert_eq!(told(TCP, Word::Refused, Some(false), Reached), (Seen::Refused, Proved, None));
        assert_eq!(told(TCP, Word::Refused, Some(true), Reached), (Seen::Rejected, Contradicted, None));
        assert_eq!(told(TCP, Word::Silent, Some(false), Reached), (Seen::Dropped, Contradicted, None));
        assert_eq!(told(UDP, Word::Withheld, Some(true), Reached), (Seen::Withheld, Contradicted, None));
        assert_eq!(told(NTP, Word::Answered, Some(true), Reached), (Seen::Answered, Proved, None));
        let silent = (Seen::Silent, Undecided, Some(Note::NeedNotAnswer));
        assert_eq!(told(UDP, Word::Silent, Some(true), Reached), silent);
        assert_eq!(told(UDP, Word::Silent, Some(false), Reached), (Seen::Dropped, Contradicted, None));
        // A host that is off proves nothing; one that answers on its wire and lets nobody in contradicts its flows.
        assert_eq!(told(TCP, Word::Silent, None, Gone), (Seen::Dropped, NotTried, Some(Note::DestinationGone)));
        let closed = (Seen::Dropped, Contradicted, Some(Note::DestinationClosed));
        assert_eq!(told(TCP, Word::Silent, None, Closed), closed);
    }

    #[test]
    fn a_denied_flow_is_contradicted_by_an_answer_also_where_only_the_source_holds_it_back() {
        use There::{Gone, Reached};
        use Verdict::{Contradicted, NotTried, Proved, Undecided};
        let told = |door, words, listens, there| case(Expected::Denied, door, words, listens, there);
        let silent = Some(Word::Silent);
        assert_eq!(told(TCP, (Word::Silent, silent), Some(true), Reached), (Seen::Dropped, Proved, None));
        assert_eq!(told(TCP, (Word::Connected, silent), Some(true), Reached), (Seen::Connected, Contradicted, None));
        assert_eq!(told(TCP, (Word::Refused, silent), Some(false), Reached), (Seen::Refused, Contradicted, None));
        assert_eq!(told(TCP, (Word::Refused, silent), Some(true), Reached), (Seen::Rejected, Proved, None));
        let held = (Seen::Dropped, Contradicted, Some(Note::HeldBackBySource));
        assert_eq!(told(TCP, (Word::Silent, Some(Word::Connected)), Some(true), Reached), held);
        assert_eq!(told(TCP, (Word::Silent, Some(Word::Refused)), Some(false), Reached), held);
        let untried = (Seen::Dropped, Proved, Some(Note::AroundNotTried));
        assert_eq!(told(TCP, (Word::Silent, Some(Word::Failed)), Some(true), Reached), untried);
        let unknown = (Seen::Silent, Undecided, Some(Note::NeedNotAnswer));
        assert_eq!(told(UDP, (Word::Withheld, silent), Some(true), Reached), unknown);
        assert_eq!(told(UDP, (Word::Withheld, silent), Some(false), Reached), (Seen::Withheld, Proved, None));
        assert_eq!(told(NTP, (Word::Withheld, silent), Some(true), Reached), (Seen::Withheld, Proved, None));
        let gone = (Seen::Dropped, NotTried, Some(Note::DestinationGone));
        assert_eq!(told(TCP, (Word::Silent, silent), None, Gone), gone);
        let no_address = (Seen::NotTried, NotTried, Some(Note::NoAddress));
        assert_eq!(told(TCP, (Word::NoAddress, Some(Word::Failed)), Some(true), Reached), no_address);
    }
}

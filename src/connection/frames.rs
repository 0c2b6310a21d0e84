//! Cuts a host's output into frames.
//!
//! A frame starts with a newline and the request's boundary, 128 random bits that no file of the host can know, so
//! that whatever a command prints is data and never a frame. What comes before the first frame of a request is noise
//! of the login (a banner, a shell's start file) or of an earlier request's background process, and is set apart.

use memchr::memmem::Finder;

/// The longest line that a frame may be: a mark is a few words, so a longer one means that the stream is not ours.
const LINE_LIMIT: usize = 64 * 1024;

/// Part of a host's output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// Bytes from before the request began.
    Noise(Vec<u8>),
    /// The host has the whole script and starts it.
    Started,
    /// A line that the script printed by `_mark`.
    Mark(String),
    /// Bytes that the script printed.
    Data(Vec<u8>),
    /// The script has ended with this status.
    Ended(i32),
}

/// Why an output cannot be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BadFrame;

/// Cuts the output of one request.
pub(super) struct Parser {
    needle: Finder<'static>,
    held: Vec<u8>,
    is_started: bool,
}

impl Parser {
    /// Returns a parser for the request with this boundary.
    pub(super) fn new(boundary: &str) -> Self {
        let needle = Finder::new(format!("\n{boundary}").as_bytes()).into_owned();
        Self { needle, held: Vec::new(), is_started: false }
    }

    /// Takes the next bytes, however they were cut on the way, and hands on what is complete.
    pub(super) fn feed(&mut self, chunk: &[u8], hand_on: &mut dyn FnMut(Piece)) -> Result<(), BadFrame> {
        self.held.extend_from_slice(chunk);
        let held = std::mem::take(&mut self.held);
        let mut rest = held.as_slice();
        loop {
            let Some(at) = self.needle.find(rest) else {
                let (whole, open) = rest.split_at(rest.len() - self.open_tail(rest));
                self.data(whole, hand_on);
                self.held = open.to_vec();
                return Ok(());
            };
            let (before, frame) = rest.split_at(at);
            self.data(before, hand_on);
            let line = frame.get(self.needle.needle().len()..).unwrap_or_default();
            let Some(end) = memchr::memchr(b'\n', line) else {
                if line.len() > LINE_LIMIT {
                    return Err(BadFrame);
                }
                self.held = frame.to_vec();
                return Ok(());
            };
            let (line, after) = line.split_at(end);
            hand_on(self.read(line)?);
            rest = after.get(1..).unwrap_or_default();
        }
    }

    fn data(&self, bytes: &[u8], hand_on: &mut dyn FnMut(Piece)) {
        if !bytes.is_empty() {
            hand_on(if self.is_started { Piece::Data(bytes.to_vec()) } else { Piece::Noise(bytes.to_vec()) });
        }
    }

    fn read(&mut self, line: &[u8]) -> Result<Piece, BadFrame> {
        let text = String::from_utf8_lossy(line.get(1..).unwrap_or_default());
        match line.first() {
            Some(b'>') if !self.is_started => {
                self.is_started = true;
                Ok(Piece::Started)
            }
            Some(b' ') if self.is_started => Ok(Piece::Mark(text.into_owned())),
            Some(b'.') if self.is_started => text.parse().map(Piece::Ended).map_err(|_| BadFrame),
            _ => Err(BadFrame),
        }
    }

    /// Returns how many bytes at the end may be the start of a frame that is still on its way.
    fn open_tail(&self, bytes: &[u8]) -> usize {
        let needle = self.needle.needle();
        let longest = bytes.len().min(needle.len() - 1);
        let tail = bytes.get(bytes.len() - longest..).unwrap_or_default();
        memchr::memchr_iter(b'\n', tail)
            .map(|at| tail.get(at..).unwrap_or_default())
            .find(|open| needle.starts_with(open))
            .map_or(0, <[u8]>::len)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BOUNDARY: &str = "00112233445566778899aabbccddeeff";

    fn parse(chunks: &[&[u8]]) -> Result<Vec<Piece>, BadFrame> {
        let mut parser = Parser::new(BOUNDARY);
        let mut pieces: Vec<Piece> = Vec::new();
        for chunk in chunks {
            parser.feed(chunk, &mut |piece| match (pieces.last_mut(), piece) {
                (Some(Piece::Data(all)), Piece::Data(more)) => all.extend(more),
                (Some(Piece::Noise(all)), Piece::Noise(more)) => all.extend(more),
                (_, piece) => pieces.push(piece),
            })?;
        }
        Ok(pieces)
    }

    #[test]
    fn exactly_the_newline_of_the_frame_is_taken_away() {
        let text = format!("motd\n\n{BOUNDARY}>\na\n\n\n{BOUNDARY} one two\n\n{BOUNDARY} three\nb\n{BOUNDARY}.7\n");
        assert_eq!(
            parse(&[text.as_bytes()]).unwrap(),
            [
                Piece::Noise(b"motd\n".to_vec()),
                Piece::Started,
                Piece::Data(b"a\n\n".to_vec()),
                Piece::Mark("one two".into()),
                Piece::Mark("three".into()),
                Piece::Data(b"b".to_vec()),
                Piece::Ended(7),
            ]
        );
    }

    #[test]
    fn a_frame_that_is_none_of_ours_is_refused() {
        for line in ["?", ".x", "", " too early"] {
            assert_eq!(parse(&[format!("\n{BOUNDARY}{line}\n").as_bytes()]), Err(BadFrame), "{line:?}");
        }
        let endless = format!("\n{BOUNDARY}>\n\n{BOUNDARY} {}", "x".repeat(LINE_LIMIT));
        assert_eq!(parse(&[endless.as_bytes()]), Err(BadFrame));
    }

    proptest! {
        #[test]
        fn the_cuts_on_the_way_do_not_matter(
            parts in prop::collection::vec(prop_oneof![
                prop::collection::vec(any::<u8>(), 0..40).prop_map(Some),
                Just(Some(b"\n".to_vec())),
                Just(Some(format!("\n{}", &BOUNDARY[..31]).into_bytes())),
                Just(Some(BOUNDARY.as_bytes().to_vec())),
                Just(None),
            ], 0..12),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
        ) {
            let mut wire = format!("\n{BOUNDARY}>\n").into_bytes();
            let mut expected = vec![Piece::Started];
            let mut data: Vec<u8> = Vec::new();
            for part in parts {
                match part {
                    Some(bytes) => { wire.extend(&bytes); data.extend(bytes); }
                    None => {
                        // A part that happens to make a boundary would be a frame: nobody can make one in earnest.
                        wire.extend(format!("\n{BOUNDARY} m\n").bytes());
                        if !data.is_empty() { expected.push(Piece::Data(std::mem::take(&mut data))); }
                        expected.push(Piece::Mark("m".into()));
                    }
                }
            }
            if !data.is_empty() { expected.push(Piece::Data(data.clone())); }
            prop_assume!(expected.iter().all(|piece| match piece {
                Piece::Data(bytes) => memchr::memmem::find(bytes, format!("\n{BOUNDARY}").as_bytes()).is_none(),
                _ => true,
            }));
            wire.extend(format!("\n{BOUNDARY}.0\n").bytes());
            expected.push(Piece::Ended(0));
            let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(wire.len())).collect();
            at.extend([0, wire.len()]);
            at.sort_unstable();
            let chunks: Vec<&[u8]> = at.windows(2).map(|w| &wire[w[0]..w[1]]).collect();
            prop_assert_eq!(parse(&chunks).unwrap(), expected);
        }
    }
}

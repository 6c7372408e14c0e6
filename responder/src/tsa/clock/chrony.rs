//! chronyd as a source: the `tracking` report of its command protocol, over UDP on this host.
//!
//! Version 6 of that protocol has not changed since chrony 2.0; chronyd answers this request from any client on its
//! host. The true time is within |offset| + root dispersion + half of the root delay (chronyc(1), "tracking").
//! Invariant: a packet counts only if it came from the address that was asked, has the sequence number of this request,
//! and has the expected length and kind; all others are ignored. It does not know what its report is used for.

use std::{
    io,
    net::{SocketAddr, UdpSocket},
    time::{Duration, Instant},
};

use super::{Discipline, Leap};

/// Of the reply; requests are padded to the same length, because chronyd never sends more than it received.
const PACKET_OCTETS: usize = 104;
const VERSION: u8 = 6;
const REQUEST: u8 = 1;
const REPLY: u8 = 2;
const REQ_TRACKING: u16 = 33;
const RPY_TRACKING: u16 = 5;
const LEAP_INSERT: u16 = 1;
const LEAP_DELETE: u16 = 2;
const LEAP_UNSYNCHRONISED: u16 = 3;
/// What chronyd reports as its server if it follows none, and if it follows its own clock (`local`).
const NO_REFERENCE: u32 = 0;
const LOCAL_REFERENCE: u32 = 0x7F7F_0101;

/// A chronyd on this host.
#[derive(Debug)]
pub(super) struct Chrony {
    address: SocketAddr,
    socket: Option<UdpSocket>,
    sequence: u32,
}

impl Chrony {
    /// `sequence` should be random.
    pub(super) fn new(address: SocketAddr, sequence: u32) -> Self {
        Self { address, socket: None, sequence }
    }

    /// Asks it, and waits until `deadline` at most.
    pub(super) fn read(&mut self, deadline: Instant) -> io::Result<Discipline> {
        let address = self.address;
        let answer = self.ask(deadline);
        // Replaced after every failure: a socket remembers errors.
        self.socket = self.socket.take().filter(|_| answer.is_ok());
        answer.map_err(|error| {
            let why = match error.kind() {
                io::ErrorKind::ConnectionRefused => {
                    "nothing listens there: is chronyd running, with this cmdport?".into()
                }
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => "no answer in time".into(),
                _ => error.to_string(),
            };
            io::Error::new(error.kind(), format!("chronyd at {address}: {why}"))
        })
    }

    fn ask(&mut self, deadline: Instant) -> io::Result<Discipline> {
        let socket = match &self.socket {
            Some(socket) => socket,
            None => {
                let any: SocketAddr = if self.address.is_ipv4() {
                    ([127, 0, 0, 1], 0).into()
                } else {
                    "[::1]:0".parse().unwrap_or(self.address)
                };
                let socket = UdpSocket::bind(any)?;
                // From now on the kernel only delivers packets from that address.
                socket.connect(self.address)?;
                self.socket.insert(socket)
            }
        };
        self.sequence = self.sequence.wrapping_add(1);
        socket.send(&request(self.sequence))?;
        let mut packet = [0; PACKET_OCTETS + 1];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            socket.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
            let length = socket.recv(&mut packet)?;
            if let Some(answer) = reply(packet.get(..length).unwrap_or_default(), self.sequence) {
                return answer.map_err(io::Error::other);
            }
        }
    }
}

fn request(sequence: u32) -> [u8; PACKET_OCTETS] {
    let mut packet = [0; PACKET_OCTETS];
    packet[0] = VERSION;
    packet[1] = REQUEST;
    packet[4..6].copy_from_slice(&REQ_TRACKING.to_be_bytes());
    packet[8..12].copy_from_slice(&sequence.to_be_bytes());
    packet
}

/// `None` if it is not a reply to the request with that number.
fn reply(packet: &[u8], sequence: u32) -> Option<Result<Discipline, String>> {
    let word = |at: usize| Some(u32::from_be_bytes(packet.get(at..at + 4)?.try_into().ok()?));
    let half = |at: usize| Some(u16::from_be_bytes(packet.get(at..at + 2)?.try_into().ok()?));
    let &[version, REPLY, ..] = packet else { return None };
    if word(16)? != sequence || half(4)? != REQ_TRACKING {
        return None;
    }
    let status = half(8)?;
    if version != VERSION || status != 0 {
        return Some(Err(format!("it refuses the request (protocol version {version}, status {status})")));
    }
    if half(6)? != RPY_TRACKING || packet.len() != PACKET_OCTETS {
        return Some(Err("it answers with another report than was asked for".into()));
    }
    // ref_id 28, address 32, stratum 52, leap 54, reference time 56, 64, then floats: correction 68, last offset 72, RMS 76,
    // frequency 80, residual 84, skew 88, root delay 92, root dispersion 96.
    let (reference, leap) = (word(28)?, half(54)?);
    let [correction, delay, dispersion] = [float(word(68)?), float(word(92)?), float(word(96)?)];
    let measured = u64::from(word(60)?).wrapping_mul(1_000_000_000).wrapping_add(word(64)?.into());
    Some(Ok(Discipline {
        synchronised: leap != LEAP_UNSYNCHRONISED && ![NO_REFERENCE, LOCAL_REFERENCE].contains(&reference),
        // The correction is added to a clock that is behind by that amount. `as` saturates.
        offset: (-correction * 1e9) as i64,
        uncertainty: ((dispersion.abs() + delay.abs() / 2.0) * 1e9).ceil() as u64,
        leap: if [LEAP_INSERT, LEAP_DELETE].contains(&leap) { Leap::Announced } else { Leap::None },
        measurement: Some(measured),
    }))
}

/// chrony's floating point: an exponent of 7 bits and a coefficient of 25, both signed; the binary point is left of the
/// coefficient.
fn float(word: u32) -> f64 {
    let exponent = word.cast_signed() >> 25;
    let coefficient = (word << 7).cast_signed() >> 7;
    f64::from(coefficient) * 2_f64.powi(exponent - 25)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The inverse, as in chronyd's util.c.
    fn encoded(value: f64) -> u32 {
        let (mut exponent, mut coefficient) = (25, value);
        while coefficient.abs() >= f64::from(1 << 24) {
            (coefficient, exponent) = (coefficient / 2.0, exponent + 1);
        }
        while coefficient != 0.0 && coefficient.abs() < f64::from(1 << 23) && exponent > -63 {
            (coefficient, exponent) = (coefficient * 2.0, exponent - 1);
        }
        (exponent as u32) << 25 | (coefficient as i32).cast_unsigned() & 0x01FF_FFFF
    }

    fn packet(sequence: u32, reference: u32, leap: u16, correction: f64, delay: f64, dispersion: f64) -> Vec<u8> {
        let mut packet = vec![0; PACKET_OCTETS];
        packet[..2].copy_from_slice(&[VERSION, REPLY]);
        packet[4..6].copy_from_slice(&REQ_TRACKING.to_be_bytes());
        packet[6..8].copy_from_slice(&RPY_TRACKING.to_be_bytes());
        packet[16..20].copy_from_slice(&sequence.to_be_bytes());
        packet[28..32].copy_from_slice(&reference.to_be_bytes());
        packet[54..56].copy_from_slice(&leap.to_be_bytes());
        packet[60..64].copy_from_slice(&5_u32.to_be_bytes());
        packet[64..68].copy_from_slice(&7_u32.to_be_bytes());
        for (at, value) in [(68, correction), (92, delay), (96, dispersion)] {
            packet[at..at + 4].copy_from_slice(&encoded(value).to_be_bytes());
        }
        packet
    }

    #[test]
    fn floats_are_read_as_chronyd_writes_them() {
        for value in [0.0, 1.0, -1.0, 0.001, -0.25, 1e-9, -3e-7, 12.5, -86_400.0, 1e6] {
            let read = float(encoded(value));
            assert!((read - value).abs() <= value.abs() * 1e-6, "{value} is read as {read}");
        }
    }

    #[test]
    fn a_report_is_read() {
        let read = |reference, leap, correction, delay, dispersion| {
            reply(&packet(9, reference, leap, correction, delay, dispersion), 9).unwrap().unwrap()
        };
        let good = read(0x7F00_0001, 0, 0.25, 0.5, 0.125);
        let (offset, uncertainty) = (-250_000_000, 375_000_000);
        let expected =
            Discipline { synchronised: true, offset, uncertainty, leap: Leap::None, measurement: Some(5_000_000_007) };
        assert_eq!(good, expected);
        for (reference, leap, synchronised, expected) in [
            (1, 1, true, Leap::Announced),
            (1, 2, true, Leap::Announced),
            (1, 3, false, Leap::None),
            (NO_REFERENCE, 0, false, Leap::None),
            (LOCAL_REFERENCE, 0, false, Leap::None),
        ] {
            let said = read(reference, leap, 0.0, 0.0, 0.0);
            assert_eq!((said.synchronised, said.leap), (synchronised, expected), "{reference:x} {leap}");
        }
    }

    #[test]
    fn what_is_not_the_reply_is_passed_over_or_refused() {
        let good = packet(9, 1, 0, 0.0, 0.0, 0.0);
        assert!(reply(&good, 10).is_none(), "of another request");
        assert!(reply(&request(9), 9).is_none(), "a request");
        for length in 0..PACKET_OCTETS {
            assert!(!matches!(reply(&good[..length], 9), Some(Ok(_))), "cut after {length}");
        }
        assert!(reply(&[&good[..], &[0]].concat(), 9).unwrap().is_err(), "longer");
        for (at, what) in [(0, "version"), (7, "report"), (9, "status")] {
            let mut other = good.clone();
            other[at] ^= 4;
            assert!(reply(&other, 9).unwrap().is_err(), "{what}");
        }
    }
}

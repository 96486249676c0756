//! A bad network between clients and the server: loss, delay and the rest, seeded, the same each time.
//!
//! [`Impairment`] says what is wrong with a way, [`link::Link`] decides about each datagram without knowing sockets or
//! clocks, [`Proxy`] moves real datagrams by its decisions.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use thiserror::Error;

mod link;
mod proxy;

pub(crate) use proxy::{Counts, Proxy};

/// What is wrong with one direction of a way.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Impairment {
    /// Share of datagrams that are lost, 0 to 1.
    pub(crate) loss: f64,
    /// Mean length of a run of lost datagrams; 1: each by itself (Gilbert-Elliott).
    pub(crate) burst: f64,
    pub(crate) delay: Duration,
    /// The delay varies by up to this, up and down. Order is kept.
    pub(crate) jitter: Duration,
    /// Share of datagrams that are held back until later ones have overtaken them.
    pub(crate) reorder: f64,
    /// Share of datagrams that come twice.
    pub(crate) duplicate: f64,
    /// What the way carries, bit/s; what is above waits.
    pub(crate) rate: Option<u64>,
    /// How long a datagram may wait for the rate; longer waits are losses.
    pub(crate) queue: Duration,
    /// Every so often the server sees the client at a new port, as behind a NAT that forgot it.
    pub(crate) rebind: Option<Duration>,
    /// Handshakes and checks pass as they are; only RTP and RTCP suffer.
    pub(crate) media_only: bool,
}

impl Default for Impairment {
    fn default() -> Self {
        Self {
            loss: 0.0,
            burst: 1.0,
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            reorder: 0.0,
            duplicate: 0.0,
            rate: None,
            queue: Duration::from_millis(100),
            rebind: None,
            media_only: false,
        }
    }
}

/// What can't be understood, and where.
#[derive(Debug, Error, PartialEq)]
pub(crate) enum ImpairmentError {
    #[error("`{0}` is not key=value; keys are {KEYS}")]
    Pair(String),
    #[error("there is no `{0}`; keys are {KEYS}")]
    Key(String),
    #[error("loss={0}, burst={1}: what is not lost comes alone at most, so no burst can be that short")]
    Burst(f64, f64),
    #[error("`{0}` is given twice")]
    Twice(String),
    #[error("{key}={value}: {wanted}")]
    Value {
        key: String,
        value: String,
        wanted: &'static str,
    },
}

const KEYS: &str = "loss, burst, delay, jitter, reorder, duplicate, rate, queue, rebind, on";
const SHARE: &str = "give a share like 1% or 0.01";
const TIME: &str = "give a time like 50ms, 1.5s, of at most 60s";
const RATE: &str = "give a rate like 500kbit or 5Mbit";
const BURST: &str = "give a mean length of 1 to 1000 datagrams";
const ON: &str = "give all or media";
const TIME_MAX: f64 = 60.0;

impl FromStr for Impairment {
    type Err = ImpairmentError;

    /// `loss=1%,delay=50ms,jitter=5ms`, in any order.
    fn from_str(text: &str) -> Result<Self, ImpairmentError> {
        let mut found = Self::default();
        let mut seen = Vec::new();
        for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
            let (key, value) = pair
                .split_once('=')
                .ok_or_else(|| ImpairmentError::Pair(pair.to_owned()))?;
            if seen.contains(&key) {
                return Err(ImpairmentError::Twice(key.to_owned()));
            }
            seen.push(key);
            found.set(key, value)?;
        }
        // The good state, too, lasts for one datagram at least: loss / burst of them end it.
        if found.burst > 1.0 && found.loss < 1.0 && found.loss / found.burst > 1.0 - found.loss {
            return Err(ImpairmentError::Burst(found.loss, found.burst));
        }
        Ok(found)
    }
}

impl Impairment {
    fn set(&mut self, key: &str, value: &str) -> Result<(), ImpairmentError> {
        let wrong = |wanted| ImpairmentError::Value {
            key: key.to_owned(),
            value: value.to_owned(),
            wanted,
        };
        let share_of = || share(value).ok_or_else(|| wrong(SHARE));
        let time_of = || time(value).ok_or_else(|| wrong(TIME));
        match key {
            "loss" => self.loss = share_of()?,
            "reorder" => self.reorder = share_of()?,
            "duplicate" => self.duplicate = share_of()?,
            "delay" => self.delay = time_of()?,
            "jitter" => self.jitter = time_of()?,
            "queue" => self.queue = time_of()?,
            "rebind" => self.rebind = Some(time_of()?).filter(|time| !time.is_zero()),
            "rate" => self.rate = Some(rate(value).ok_or_else(|| wrong(RATE))?),
            "burst" => {
                let burst = value.parse().ok().filter(|burst| (1.0..=1000.0).contains(burst));
                self.burst = burst.ok_or_else(|| wrong(BURST))?;
            }
            "on" => {
                self.media_only = match value {
                    "media" => true,
                    "all" => false,
                    _ => return Err(wrong(ON)),
                }
            }
            _ => return Err(ImpairmentError::Key(key.to_owned())),
        }
        Ok(())
    }
}

fn share(text: &str) -> Option<f64> {
    let (number, unit) = text
        .strip_suffix('%')
        .map_or((text, 1.0), |number| (number, 0.01));
    let share = number.parse::<f64>().ok()? * unit;
    (0.0..=1.0).contains(&share).then_some(share)
}

fn time(text: &str) -> Option<Duration> {
    let (number, unit) = match text.strip_suffix("ms") {
        Some(number) => (number, 1e-3),
        None => (text.strip_suffix('s')?, 1.0),
    };
    let seconds = number.parse::<f64>().ok()? * unit;
    (0.0..=TIME_MAX)
        .contains(&seconds)
        .then(|| Duration::from_secs_f64(seconds))
}

fn rate(text: &str) -> Option<u64> {
    let (number, unit) = match text.strip_suffix("kbit") {
        Some(number) => (number, 1e3),
        None => (text.strip_suffix("Mbit")?, 1e6),
    };
    let bits = number.parse::<f64>().ok()? * unit;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked")]
    (1e3..=1e12).contains(&bits).then_some(bits as u64)
}

impl fmt::Display for Impairment {
    /// As it is parsed, without what is as it should be.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let default = Self::default();
        let mut parts = Vec::new();
        for (key, share) in [
            ("loss", self.loss),
            ("reorder", self.reorder),
            ("duplicate", self.duplicate),
        ] {
            if share > 0.0 {
                parts.push(format!("{key}={share}"));
            }
        }
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        for (key, time) in [("delay", self.delay), ("jitter", self.jitter)] {
            if !time.is_zero() {
                parts.push(format!("{key}={}ms", ms(time)));
            }
        }
        if self.burst > 1.0 {
            parts.push(format!("burst={}", self.burst));
        }
        if let Some(rate) = self.rate {
            parts.push(format!("rate={}kbit", rate as f64 / 1e3));
        }
        if self.queue != default.queue {
            parts.push(format!("queue={}ms", ms(self.queue)));
        }
        if let Some(rebind) = self.rebind {
            parts.push(format!("rebind={}ms", ms(rebind)));
        }
        if self.media_only {
            parts.push("on=media".into());
        }
        f.write_str(&parts.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_read_and_told_again() {
        let text = "loss=1%,burst=4,delay=50ms,jitter=5ms,reorder=0.5%,duplicate=0.1%,rate=5Mbit,queue=250ms,rebind=10s,on=media";
        let impairment: Impairment = text.parse().unwrap();
        assert_eq!((impairment.loss, impairment.burst), (0.01, 4.0));
        assert_eq!(impairment.rate, Some(5_000_000));
        assert_eq!(impairment.rebind, Some(Duration::from_secs(10)));
        assert_eq!(impairment.to_string().parse(), Ok(impairment));
        assert_eq!("".parse(), Ok(Impairment::default()));
        assert_eq!(Impairment::default().to_string(), "");
    }

    #[test]
    fn mistakes_are_told_plainly() {
        for (text, told) in [
            ("loss", "keys are"),
            ("lost=1%", "no `lost`"),
            ("loss=1%,loss=2%", "twice"),
            ("loss=101%", "loss=101%"),
            ("loss=-1", "share"),
            ("delay=50", "time"),
            ("delay=61s", "60s"),
            ("rate=5", "Mbit"),
            ("burst=0", "1 to 1000"),
            ("on=some", "media"),
            ("loss=90%,burst=2", "no burst"),
        ] {
            let error = text.parse::<Impairment>().unwrap_err().to_string();
            assert!(error.contains(told), "{text}: {error}");
        }
    }
}

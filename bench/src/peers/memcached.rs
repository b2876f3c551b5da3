//! A memcached client (text protocol) over [`Wire`]: many keys in one `get`, and sets that nobody waits for.

use anyhow::{Context, Result, bail, ensure};

use super::wire::{Wire, line, number, push_number};

/// Length of a key: memcached takes text only, so the 8 bytes of an id and 2 of a type are written in hexadecimal.
const KEY: usize = 21;

/// A key: what it is of, an id, a type.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CacheKey([u8; KEY]);

/// One connection.
pub struct Memcached {
    wire: Wire,
}

impl CacheKey {
    /// `kind` tells objects, lists and counts apart.
    pub fn new(kind: u8, id: u64, atype: u16) -> Self {
        let mut key = [kind; KEY];
        let digits = key[1..17].iter_mut().zip((0..16).rev().map(|at| (id >> (4 * at)) as u8 & 0xf));
        digits.for_each(|(place, digit)| *place = hexadecimal(digit));
        let digits = key[17..].iter_mut().zip((0..4).rev().map(|at| (atype >> (4 * at)) as u8 & 0xf));
        digits.for_each(|(place, digit)| *place = hexadecimal(digit));
        Self(key)
    }
}

const fn hexadecimal(digit: u8) -> u8 {
    b"0123456789abcdef"[(digit & 0xf) as usize]
}

impl Memcached {
    /// Connects.
    ///
    /// # Errors
    /// Nobody answers.
    pub async fn connect(address: &str) -> Result<Self> {
        Ok(Self { wire: Wire::connect(address).await? })
    }

    /// Asks for many keys at once; `hit` sees the index and the value of each that is there, in their order.
    ///
    /// # Errors
    /// The connection broke, or the server refused.
    pub async fn get_many(
        &mut self,
        keys: &[CacheKey],
        mut hit: impl FnMut(usize, &[u8]) + Send,
    ) -> Result<()> {
        if keys.is_empty() {
            return Ok(());
        }
        let out = &mut self.wire.out;
        out.extend_from_slice(b"get");
        for key in keys {
            out.push(b' ');
            out.extend_from_slice(&key.0);
        }
        out.extend_from_slice(b"\r\n");
        self.wire.send().await?;
        let mut at = 0;
        loop {
            // All values that have come are taken off at once.
            let ended = self
                .wire
                .take(|input| {
                    let mut taken = 0;
                    loop {
                        match value(&input[taken..])? {
                            Some(Found::End(length)) => return Ok(Some((true, taken + length))),
                            Some(Found::Value { key, value, length }) => {
                                // Values come in the order of the keys; those that are not there are left out.
                                let skipped = keys[at..].iter().position(|asked| asked.0 == key);
                                at += skipped.context("a value that was not asked for")?;
                                hit(at, value);
                                at += 1;
                                taken += length;
                            }
                            None => return Ok((taken > 0).then_some((false, taken))),
                        }
                    }
                })
                .await?;
            if ended {
                return Ok(());
            }
        }
    }

    /// Puts a value there; sent with [`Memcached::flush`], not answered.
    pub fn set(&mut self, key: CacheKey, value: &[u8]) {
        let out = &mut self.wire.out;
        out.extend_from_slice(b"set ");
        out.extend_from_slice(&key.0);
        out.extend_from_slice(b" 0 0 ");
        push_number(out, value.len() as u64);
        out.extend_from_slice(b" noreply\r\n");
        out.extend_from_slice(value);
        out.extend_from_slice(b"\r\n");
    }

    /// Sends the sets.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn flush(&mut self) -> Result<()> {
        self.wire.send().await
    }

    /// Removes keys, and waits for it: a reader must not find what was overwritten after the writer was told.
    ///
    /// # Errors
    /// As [`Memcached::get_many`].
    pub async fn delete_many(&mut self, keys: &[CacheKey]) -> Result<()> {
        for key in keys {
            self.wire.out.extend_from_slice(b"delete ");
            self.wire.out.extend_from_slice(&key.0);
            self.wire.out.extend_from_slice(b"\r\n");
        }
        self.wire.send().await?;
        for _ in keys {
            self.wire
                .take(|input| {
                    let Some((text, length)) = line(input) else { return Ok(None) };
                    let known = matches!(text, b"DELETED" | b"NOT_FOUND");
                    ensure!(known, "memcached says {:?}", String::from_utf8_lossy(text));
                    Ok(Some(((), length)))
                })
                .await?;
        }
        Ok(())
    }
}

enum Found<'a> {
    Value { key: &'a [u8], value: &'a [u8], length: usize },
    End(usize),
}

/// `VALUE key flags bytes`, or the end of a reply.
fn value(input: &[u8]) -> Result<Option<Found<'_>>> {
    let Some((text, head)) = line(input) else { return Ok(None) };
    if text == b"END" {
        return Ok(Some(Found::End(head)));
    }
    let mut words = text.split(|byte| *byte == b' ');
    let (Some(b"VALUE"), Some(key), Some(_), Some(bytes)) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        bail!("memcached says {:?}", String::from_utf8_lossy(text));
    };
    let bytes = usize::try_from(number(bytes)?)?;
    let length = head + bytes + 2;
    Ok((input.len() >= length).then(|| Found::Value { key, value: &input[head..head + bytes], length }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_text_and_tell_apart() {
        let key = CacheKey::new(b'l', 0x0123_4567_89ab_cdef, 0xfe01);
        assert_eq!(&key.0, b"l0123456789abcdeffe01");
        assert_ne!(CacheKey::new(b'l', 1, 2), CacheKey::new(b'c', 1, 2));
        assert_ne!(CacheKey::new(b'l', 1, 2), CacheKey::new(b'l', 2, 1));
    }

    #[test]
    fn values_are_parsed_when_all_of_them_is_there() {
        let text = b"VALUE k 0 3\r\nabc\r\nEND\r\n";
        let Some(Found::Value { key, value: found, length }) = value(text).unwrap() else {
            panic!("a value")
        };
        assert_eq!((key, found, length), (&b"k"[..], &b"abc"[..], 18));
        assert!(matches!(value(&text[18..]).unwrap(), Some(Found::End(5))));
        assert!(value(&text[..17]).unwrap().is_none() && value(b"EN").unwrap().is_none());
        assert!(value(b"SERVER_ERROR out of memory\r\n").is_err());
    }
}

//! Reads the bytes of an event. Every step is checked: an event may be damaged.

use super::Bad;

/// What is left of an event.
#[derive(Clone, Copy)]
pub(super) struct Wire<'a>(pub(super) &'a [u8]);

impl<'a> Wire<'a> {
    /// The next `count` bytes.
    pub(super) fn bytes(&mut self, count: usize) -> Result<&'a [u8], Bad> {
        match self.0.split_at_checked(count) {
            Some((bytes, rest)) => {
                self.0 = rest;
                Ok(bytes)
            }
            None => Err(Bad::new("an event that ends too early")),
        }
    }

    /// An unsigned number of `width` bytes, 1 to 8, least first.
    pub(super) fn uint(&mut self, width: usize) -> Result<u64, Bad> {
        let mut number = [0; 8];
        number[..width].copy_from_slice(self.bytes(width)?);
        Ok(u64::from_le_bytes(number))
    }

    /// A length of `width` bytes.
    pub(super) fn length(&mut self, width: usize) -> Result<usize, Bad> {
        usize::try_from(self.uint(width)?).map_err(|_| Bad::new("a length out of range"))
    }

    /// A length in the encoding that is as short as possible.
    pub(super) fn packed_length(&mut self) -> Result<usize, Bad> {
        match self.uint(1)? {
            short @ 0..=250 => Ok(short as usize),
            252 => self.length(2),
            253 => self.length(3),
            254 => self.length(8),
            _ => Err(Bad::new("a length that is none")),
        }
    }

    /// A name: its length in one byte, its bytes, and a zero.
    pub(super) fn name(&mut self) -> Result<&'a [u8], Bad> {
        let length = self.length(1)?;
        let name = self.bytes(length)?;
        self.bytes(1)?;
        Ok(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_names_and_ends() {
        let mut wire = Wire(&[1, 0xff, 0xff, 2, b'a', b'b', 0, 252, 1, 2, 9]);
        assert_eq!((wire.uint(1).unwrap(), wire.uint(2).unwrap()), (1, 0xffff));
        assert_eq!((wire.name().unwrap(), wire.packed_length().unwrap()), (&b"ab"[..], 0x201));
        assert!(wire.uint(2).is_err(), "one byte is left");
        assert!(Wire(&[255]).packed_length().is_err() && Wire(&[5, b'a']).name().is_err());
    }
}

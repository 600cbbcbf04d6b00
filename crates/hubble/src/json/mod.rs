//! Hubble's JSON: protojson with the names of the `.proto` texts, after Go's `encoding/json` has escaped it. The code per
//! message is generated from the descriptor. Texts of errors are those of Go's reader, which users see.
//!
//! What it refuses: to guess. An unknown field or enumerator is an error unless the caller asks to discard it.

use prost::Message;

mod known;
mod lex;
mod put;
mod read;
#[cfg(test)]
mod tests;
mod time;

pub use read::{ReadError, Reader, Slot, Unknown};
pub use time::{date, days, parse_time};

/// A message that can be written.
pub trait Json {
    /// Appends one line of JSON without an end of line.
    fn write(&self, out: &mut Vec<u8>);
}

/// A message that can be read. The methods are what the generator writes; callers want [`read`].
pub trait Read: Message + Default {
    /// Full names of the oneofs, by number.
    const ONEOFS: &'static [&'static str] = &[];

    /// The field of a name, given as in the `.proto` text or in camel case.
    fn slot(_name: &str) -> Option<Slot> {
        None
    }

    /// Reads the value of a field.
    ///
    /// # Errors
    /// What stands there is no such value.
    fn read_field(&mut self, _field: u8, _r: &mut Reader<'_>) -> Result<(), ReadError> {
        Ok(())
    }

    /// Reads a message. Only types with a JSON of their own have another body.
    ///
    /// # Errors
    /// What stands there is no such message.
    fn read_message(r: &mut Reader<'_>) -> Result<Self, ReadError> {
        r.object(false)
    }
}

/// One line of JSON.
pub fn text(message: &impl Json) -> String {
    let mut out = Vec::new();
    message.write(&mut out);
    String::from_utf8(out).expect("the writer writes UTF-8")
}

/// Reads one message, which must be all of `text`.
///
/// # Errors
/// The first thing that is wrong, with its place.
pub fn read<T: Read>(text: &[u8], unknown: Unknown) -> Result<T, ReadError> {
    let mut reader = Reader::new(text, unknown);
    let message = reader.message()?;
    reader.end()?;
    Ok(message)
}

fn decoded<T: Message + Default + Json>(value: &[u8], out: &mut Vec<u8>) -> Result<(), prost::DecodeError> {
    T::decode(value)?.write(out);
    Ok(())
}

fn encoded<T: Read>(r: &mut Reader<'_>) -> Result<Vec<u8>, ReadError> {
    Ok(r.object::<T>(true)?.encode_to_vec())
}

// Deprecated fields are part of the format.
#[allow(clippy::all, deprecated, unreachable_code)]
mod generated {
    use super::{Json, Read, ReadError, Reader, Slot, decoded, encoded, put};

    include!(concat!(env!("OUT_DIR"), "/json.rs"));
}

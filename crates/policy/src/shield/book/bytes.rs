//! A source's entries as bytes, for the state file: little-endian, a version first.

use thiserror::Error;

use super::column::Column;
use super::list::{Key6, Meta, SourceList};

/// Version of the form. A form that an older agent could not read gets a new number.
const VERSION: u32 = 1;
const META_LEN: usize = 15;
const KEY6_LEN: usize = 18;

/// Bytes that are no entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BadBytes {
    /// A newer agent wrote them.
    #[error("a newer agent wrote it (form {0}, this one knows {VERSION}): start the newer agent again")]
    Newer(u32),
    /// Something is missing, or too much.
    #[error("not the entries of a blocklist")]
    Broken,
}

impl SourceList {
    /// Writes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let lens = [self.v4.len(), self.v6.len(), self.metas.len(), self.comments.len()];
        let size = 4 + 16 + 12 * lens[0] + (KEY6_LEN + 4) * lens[1] + META_LEN * lens[2] + lens[3];
        let mut bytes = Vec::with_capacity(size);
        bytes.extend(VERSION.to_le_bytes());
        lens.iter().for_each(|len| bytes.extend((*len as u32).to_le_bytes()));
        self.v4.keys.iter().for_each(|key| bytes.extend(key.to_le_bytes()));
        self.v4.metas.iter().for_each(|meta| bytes.extend(meta.to_le_bytes()));
        for key in &self.v6.keys {
            bytes.extend(key.address);
            bytes.extend([key.len, u8::from(key.allow)]);
        }
        self.v6.metas.iter().for_each(|meta| bytes.extend(meta.to_le_bytes()));
        for meta in &self.metas {
            bytes.extend(meta.expires.to_le_bytes());
            bytes.extend(meta.comment_at.to_le_bytes());
            bytes.extend(meta.comment_len.to_le_bytes());
            bytes.push(meta.class);
        }
        bytes.extend(self.comments.as_bytes());
        bytes
    }

    /// Reads.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, BadBytes> {
        let mut left = bytes;
        let version = u32::from_le_bytes(take(&mut left)?);
        if version > VERSION {
            return Err(BadBytes::Newer(version));
        }
        let mut lens = [0; 4];
        for len in &mut lens {
            *len = u32::from_le_bytes(take(&mut left)?) as usize;
        }
        let [v4, v6, metas, comments] = lens;
        let mut list = Self {
            v4: Column {
                keys: many(&mut left, v4, u64::from_le_bytes)?,
                metas: many(&mut left, v4, u32::from_le_bytes)?,
            },
            v6: Column { keys: many(&mut left, v6, key6)?, metas: many(&mut left, v6, u32::from_le_bytes)? },
            metas: many(&mut left, metas, meta)?,
            ..Self::default()
        };
        if left.len() != comments {
            return Err(BadBytes::Broken);
        }
        list.comments = String::from_utf8(left.to_vec()).map_err(|_| BadBytes::Broken)?;
        let is_ordered = list.v4.keys.is_sorted() && list.v6.keys.is_sorted();
        if !is_ordered {
            return Err(BadBytes::Broken);
        }
        list.next_expiry =
            list.metas.iter().map(|meta| meta.expires).filter(|at| *at != 0).min().unwrap_or(0);
        Ok(list)
    }
}

fn take<const N: usize>(left: &mut &[u8]) -> Result<[u8; N], BadBytes> {
    let (head, tail) = left.split_first_chunk::<N>().ok_or(BadBytes::Broken)?;
    *left = tail;
    Ok(*head)
}

fn many<const N: usize, T>(
    left: &mut &[u8],
    count: usize,
    read: impl Fn([u8; N]) -> T,
) -> Result<Vec<T>, BadBytes> {
    let len = count.checked_mul(N).ok_or(BadBytes::Broken)?;
    let (head, tail) = left.split_at_checked(len).ok_or(BadBytes::Broken)?;
    *left = tail;
    Ok(head.as_chunks::<N>().0.iter().map(|chunk| read(*chunk)).collect())
}

fn key6(bytes: [u8; KEY6_LEN]) -> Key6 {
    let mut address = [0; 16];
    address.copy_from_slice(&bytes[..16]);
    Key6 { address, len: bytes[16], allow: bytes[17] != 0 }
}

fn meta(bytes: [u8; META_LEN]) -> Meta {
    let [e0, e1, e2, e3, e4, e5, e6, e7, a0, a1, a2, a3, l0, l1, class] = bytes;
    Meta {
        expires: u64::from_le_bytes([e0, e1, e2, e3, e4, e5, e6, e7]),
        comment_at: u32::from_le_bytes([a0, a1, a2, a3]),
        comment_len: u16::from_le_bytes([l0, l1]),
        class,
    }
}

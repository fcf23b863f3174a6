//! Bytes that are a pure function of a seed and a position: what memory and files are filled with, and checked against.

/// One step of splitmix64: a number that has nothing to do with its neighbours.
pub(crate) fn mix(seed: u64, index: u64) -> u64 {
    let mut z = seed.wrapping_add(index.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Fills memory; the same bytes on every architecture.
pub(crate) fn fill(bytes: &mut [u8], seed: u64) {
    for (index, chunk) in (0u64..).zip(bytes.chunks_mut(8)) {
        let word = mix(seed, index).to_le_bytes();
        chunk.copy_from_slice(&word[..chunk.len()]);
    }
}

/// Position of the first byte that [`fill`] would not have put there.
pub(crate) fn mismatch(bytes: &[u8], seed: u64) -> Option<usize> {
    for (index, chunk) in (0u64..).zip(bytes.chunks(8)) {
        let word = mix(seed, index).to_le_bytes();
        if chunk != &word[..chunk.len()] {
            let at = chunk
                .iter()
                .zip(word)
                .position(|(found, expected)| *found != expected)
                .unwrap_or(0);
            return usize::try_from(index).ok().map(|index| index * 8 + at);
        }
    }
    None
}

/// A piece of what [`fill`] makes, from `offset` on.
pub(crate) fn piece(seed: u64, offset: usize, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; offset + len];
    fill(&mut bytes, seed);
    bytes.split_off(offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_each_changed_byte() {
        let mut bytes = vec![0; 53];
        fill(&mut bytes, 9);
        assert_eq!(mismatch(&bytes, 9), None);
        assert_eq!(mismatch(&bytes, 10), Some(0));
        for at in 0..bytes.len() {
            bytes[at] ^= 1;
            assert_eq!(mismatch(&bytes, 9), Some(at));
            bytes[at] ^= 1;
        }
    }

    #[test]
    fn pieces_fit_the_whole() {
        let mut bytes = vec![0; 100];
        fill(&mut bytes, 3);
        assert_eq!(piece(3, 17, 20), &bytes[17..37]);
    }

    #[test]
    fn is_the_same_everywhere() {
        let mut bytes = [0; 8];
        fill(&mut bytes, 0);
        assert_eq!(bytes, 0xe220_a839_7b1d_cdaf_u64.to_le_bytes());
    }
}

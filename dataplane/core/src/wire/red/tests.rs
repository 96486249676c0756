use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn emit(redundant: &[(u8, u16, Vec<u8>)], primary: (u8, &[u8])) -> Vec<u8> {
    let mut out = Vec::new();
    for (pt, offset, data) in redundant {
        let bits = u32::from(*offset) << 10 | u32::try_from(data.len()).unwrap();
        out.push(0x80 | pt);
        out.extend(&bits.to_be_bytes()[1..]);
    }
    out.push(primary.0);
    redundant.iter().for_each(|(_, _, data)| out.extend(data));
    out.extend(primary.1);
    out
}

#[test]
fn golden_payload_of_two_blocks() {
    // F PT=111 | offset 960 | length 3; PT=111
    let payload = [0xEF, 0x0F, 0x00, 0x03, 0x6F, 1, 2, 3, 9, 8];
    let read: Vec<_> = blocks(&payload).unwrap().collect();
    assert_eq!(
        read,
        [
            RedBlock {
                pt: 111,
                timestamp_offset: 960,
                data: &[1, 2, 3]
            },
            RedBlock {
                pt: 111,
                timestamp_offset: 0,
                data: &[9, 8]
            },
        ]
    );
    assert_eq!(primary_block(&payload), Some((111, &[9, 8][..])));
    assert_eq!(
        primary_block(&[0x6F, 5]),
        Some((111, &[5][..])),
        "no redundancy yet"
    );
    assert_eq!(primary_block(&[0x6F]), Some((111, &[][..])), "DTX");
}

#[test]
fn cut_and_endless_headers_are_refused() {
    assert_eq!(primary_block(&[]), None);
    assert_eq!(primary_block(&[0xEF, 0x0F, 0x00]), None, "cut header");
    assert_eq!(
        primary_block(&[0xEF, 0x0F, 0x00, 0x00]),
        None,
        "no primary header"
    );
    assert_eq!(
        primary_block(&[0xEF, 0x0F, 0x00, 0x03, 0x6F, 1, 2]),
        None,
        "block longer than the payload"
    );
    assert_eq!(primary_block(&vec![0xFF; 65_507]), None, "nothing but headers");
}

proptest! {
    #[test]
    fn never_panics_and_terminates(payload in vec(any::<u8>(), 0..200)) {
        if let Some(blocks) = blocks(&payload) {
            let all: Vec<_> = blocks.collect();
            prop_assert!(!all.is_empty());
            let bytes: usize = all.iter().map(|block| block.data.len()).sum();
            prop_assert_eq!(bytes + 4 * (all.len() - 1) + 1, payload.len());
            prop_assert_eq!(primary_block(&payload), all.last().map(|block| (block.pt, block.data)));
        } else {
            prop_assert_eq!(primary_block(&payload), None);
        }
    }

    #[test]
    fn what_is_written_is_read_back(
        redundant in vec((0u8..128, 0u16..16_384, vec(any::<u8>(), 0..40)), 0..6),
        pt in 0u8..128, data in vec(any::<u8>(), 0..40),
    ) {
        let payload = emit(&redundant, (pt, &data));
        let mut expected = redundant;
        expected.push((pt, 0, data));
        let read: Vec<_> = blocks(&payload).unwrap()
            .map(|block| (block.pt, block.timestamp_offset, block.data.to_vec())).collect();
        prop_assert_eq!(read, expected);
    }
}

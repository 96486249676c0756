use aws_lc_rs::hmac::{Context, HMAC_SHA1_FOR_LEGACY_USE_ONLY, Key};
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; 20] {
    let mut context = Context::with_key(&Key::new(HMAC_SHA1_FOR_LEGACY_USE_ONLY, key));
    parts.iter().for_each(|part| context.update(part));
    context.sign().as_ref().try_into().unwrap()
}

/// RFC 5769 §2: password and transaction of its samples.
const PASSWORD: &str = "VOkJxbRl1RmTxUk/WvJxBt";
const TRANSACTION: TransactionId = [
    0xB7, 0xE7, 0xA7, 0x01, 0xBC, 0x34, 0xD6, 0x86, 0xFA, 0x87, 0xDF, 0xAE,
];

/// RFC 5769 §2.1. The password's owner is called `evtj`.
#[rustfmt::skip]
const SAMPLE_REQUEST: [u8; 108] = [
    0x00, 0x01, 0x00, 0x58, 0x21, 0x12, 0xa4, 0x42, 0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae,
    0x80, 0x22, 0x00, 0x10, 0x53, 0x54, 0x55, 0x4e, 0x20, 0x74, 0x65, 0x73, 0x74, 0x20, 0x63, 0x6c, 0x69, 0x65, 0x6e, 0x74,
    0x00, 0x24, 0x00, 0x04, 0x6e, 0x00, 0x01, 0xff,
    0x80, 0x29, 0x00, 0x08, 0x93, 0x2f, 0xf9, 0xb1, 0x51, 0x26, 0x3b, 0x36,
    0x00, 0x06, 0x00, 0x09, 0x65, 0x76, 0x74, 0x6a, 0x3a, 0x68, 0x36, 0x76, 0x59, 0x20, 0x20, 0x20,
    0x00, 0x08, 0x00, 0x14, 0x9a, 0xea, 0xa7, 0x0c, 0xbf, 0xd8, 0xcb, 0x56, 0x78, 0x1e, 0xf2, 0xb5, 0xb2, 0xd3, 0xf2, 0x49, 0xc1, 0xb5, 0x71, 0xa2,
    0x80, 0x28, 0x00, 0x04, 0xe5, 0x7a, 0x3b, 0xcf,
];

/// RFC 5769 §2.2: 192.0.2.1, port 32853.
#[rustfmt::skip]
const SAMPLE_IPV4_RESPONSE: [u8; 80] = [
    0x01, 0x01, 0x00, 0x3c, 0x21, 0x12, 0xa4, 0x42, 0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae,
    0x80, 0x22, 0x00, 0x0b, 0x74, 0x65, 0x73, 0x74, 0x20, 0x76, 0x65, 0x63, 0x74, 0x6f, 0x72, 0x20,
    0x00, 0x20, 0x00, 0x08, 0x00, 0x01, 0xa1, 0x47, 0xe1, 0x12, 0xa6, 0x43,
    0x00, 0x08, 0x00, 0x14, 0x2b, 0x91, 0xf5, 0x99, 0xfd, 0x9e, 0x90, 0xc3, 0x8c, 0x74, 0x89, 0xf9, 0x2a, 0xf9, 0xba, 0x53, 0xf0, 0x6b, 0xe7, 0xd7,
    0x80, 0x28, 0x00, 0x04, 0xc0, 0x7d, 0x4c, 0x96,
];

/// RFC 5769 §2.3: 2001:db8:1234:5678:11:2233:4455:6677, port 32853.
#[rustfmt::skip]
const SAMPLE_IPV6_RESPONSE: [u8; 92] = [
    0x01, 0x01, 0x00, 0x48, 0x21, 0x12, 0xa4, 0x42, 0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae,
    0x80, 0x22, 0x00, 0x0b, 0x74, 0x65, 0x73, 0x74, 0x20, 0x76, 0x65, 0x63, 0x74, 0x6f, 0x72, 0x20,
    0x00, 0x20, 0x00, 0x14, 0x00, 0x02, 0xa1, 0x47, 0x01, 0x13, 0xa9, 0xfa, 0xa5, 0xd3, 0xf1, 0x79, 0xbc, 0x25, 0xf4, 0xb5, 0xbe, 0xd2, 0xb9, 0xd9,
    0x00, 0x08, 0x00, 0x14, 0xa3, 0x82, 0x95, 0x4e, 0x4b, 0xe6, 0x7b, 0xf1, 0x17, 0x84, 0xc9, 0x7c, 0x82, 0x92, 0xc2, 0x75, 0xbf, 0xe3, 0xed, 0x41,
    0x80, 0x28, 0x00, 0x04, 0xc8, 0xfb, 0x0b, 0x4c,
];

fn full_request() -> BindingRequest<'static> {
    BindingRequest {
        transaction: TRANSACTION,
        username: "server:client",
        password: PASSWORD,
        priority: Some(1_853_817_087),
        role: Some(IceRole::Controlling(42)),
        use_candidate: true,
    }
}

fn emitted(request: &BindingRequest<'_>) -> Vec<u8> {
    let mut out = [0; 1024];
    let len = emit_binding_request(&mut out, request, hmac).unwrap();
    out[..len].to_vec()
}

/// A request with these attributes as they stand, and the right length.
fn raw(attributes: &[u8]) -> Vec<u8> {
    let mut message = vec![0, 1];
    message.extend(u16::try_from(attributes.len()).unwrap().to_be_bytes());
    message.extend(MAGIC_COOKIE.to_be_bytes());
    message.extend(TRANSACTION);
    message.extend(attributes);
    message
}

#[test]
fn rfc_5769_request() {
    let view = StunView::parse(&SAMPLE_REQUEST).unwrap();
    assert!(view.is_binding_request() && !view.is_binding_success() && !view.use_candidate());
    assert_eq!(view.transaction_id(), TRANSACTION);
    assert_eq!(view.username(), Some("evtj:h6vY"));
    assert_eq!(view.ufrags(), Some(("evtj", "h6vY")));
    assert_eq!(view.priority(), Some(0x6E00_01FF));
    assert_eq!(view.ice_controlled(), Some(0x932F_F9B1_5126_3B36));
    assert_eq!(view.ice_controlling(), None);
    assert!(view.verify_integrity(PASSWORD, hmac));
    assert!(!view.verify_integrity("VOkJxbRl1RmTxUk/WvJxBu", hmac));
    assert_eq!(view.fingerprint_ok(), Some(true));
}

#[test]
fn rfc_5769_responses() {
    for (sample, mapped) in [
        (&SAMPLE_IPV4_RESPONSE[..], "192.0.2.1:32853"),
        (
            &SAMPLE_IPV6_RESPONSE[..],
            "[2001:db8:1234:5678:11:2233:4455:6677]:32853",
        ),
    ] {
        let view = StunView::parse(sample).unwrap();
        assert!(view.is_binding_success());
        assert_eq!(view.mapped_address(), Some(mapped.parse().unwrap()));
        assert!(view.verify_integrity(PASSWORD, hmac));
        assert_eq!(view.fingerprint_ok(), Some(true));

        let mut out = [0; 128];
        let len =
            emit_binding_success(&mut out, &TRANSACTION, mapped.parse().unwrap(), PASSWORD, hmac).unwrap();
        assert_eq!(
            out[20..len - 32],
            sample[36..sample.len() - 32],
            "XOR-MAPPED-ADDRESS is the RFC's"
        );
        let ours = StunView::parse(&out[..len]).unwrap();
        assert!(ours.verify_integrity(PASSWORD, hmac));
        assert_eq!(
            (ours.fingerprint_ok(), ours.mapped_address()),
            (Some(true), view.mapped_address())
        );
    }
}

#[test]
fn every_flipped_bit_is_noticed() {
    for byte in 0..SAMPLE_REQUEST.len() {
        for bit in 0..8 {
            let mut message = SAMPLE_REQUEST;
            message[byte] ^= 1 << bit;
            let Ok(view) = StunView::parse(&message) else {
                continue;
            };
            let intact = view.verify_integrity(PASSWORD, hmac);
            assert!(
                !intact || view.fingerprint_ok() != Some(true),
                "byte {byte}, bit {bit}"
            );
            assert!(
                !intact || byte >= SAMPLE_REQUEST.len() - 8,
                "integrity covers byte {byte}"
            );
        }
    }
}

#[test]
fn request_as_browsers_and_as_ffmpeg_send_it() {
    let message = emitted(&full_request());
    let view = StunView::parse(&message).unwrap();
    assert_eq!(view.ufrags(), Some(("server", "client")));
    assert_eq!(
        (view.priority(), view.ice_controlling()),
        (Some(1_853_817_087), Some(42))
    );
    assert!(view.use_candidate() && view.verify_integrity(PASSWORD, hmac));

    let bare = BindingRequest {
        priority: None,
        role: None,
        use_candidate: false,
        ..full_request()
    };
    let message = emitted(&bare);
    let view = StunView::parse(&message).unwrap();
    assert_eq!(
        (view.priority(), view.ice_controlling(), view.ice_controlled()),
        (None, None, None)
    );
    assert!(view.verify_integrity(PASSWORD, hmac) && !view.use_candidate());

    let controlled = emitted(&BindingRequest {
        role: Some(IceRole::Controlled(7)),
        ..bare
    });
    assert_eq!(StunView::parse(&controlled).unwrap().ice_controlled(), Some(7));
}

#[test]
fn role_conflict_is_487_and_signed() {
    let mut out = [0; 128];
    let len = emit_role_conflict(&mut out, &TRANSACTION, PASSWORD, hmac).unwrap();
    let view = StunView::parse(&out[..len]).unwrap();
    assert!(view.is_binding_error() && view.verify_integrity(PASSWORD, hmac));
    assert_eq!(
        (view.error_code(), view.fingerprint_ok()),
        (Some(487), Some(true))
    );
    for code in [0, 299, 700] {
        assert_eq!(
            emit_error(&mut out, &TRANSACTION, code, "", PASSWORD, hmac),
            Err(WireError::BadElement)
        );
    }
}

#[test]
fn without_integrity_nothing_verifies() {
    let message = raw(&[0, 6, 0, 3, b'a', b':', b'b', 0]);
    let view = StunView::parse(&message).unwrap();
    assert_eq!(view.ufrags(), Some(("a", "b")));
    assert!(
        !view.has_integrity() && !view.verify_integrity(PASSWORD, hmac) && !view.verify_integrity("", hmac)
    );
    assert_eq!(view.fingerprint_ok(), None);
}

#[test]
fn attributes_behind_integrity_are_not_believed() {
    let mut message = emitted(&BindingRequest {
        use_candidate: false,
        ..full_request()
    });
    message.truncate(message.len() - FINGERPRINT_ATTRIBUTE);
    message.extend([0, 0x25, 0, 0]); // USE-CANDIDATE
    message.extend([0, 6, 0, 3, b'x', b':', b'y', 0]); // USERNAME
    let len = u16::try_from(message.len() - HEADER).unwrap().to_be_bytes();
    message[2..4].copy_from_slice(&len);
    let view = StunView::parse(&message).unwrap();
    assert!(view.verify_integrity(PASSWORD, hmac), "what it covers is intact");
    assert!(!view.use_candidate());
    assert_eq!(view.ufrags(), Some(("server", "client")));
}

#[test]
fn the_first_of_two_equal_attributes_counts() {
    let message = raw(&[0, 6, 0, 3, b'a', b':', b'b', 0, 0, 6, 0, 3, b'x', b':', b'y', 0]);
    assert_eq!(StunView::parse(&message).unwrap().ufrags(), Some(("a", "b")));
}

#[test]
fn malformed_messages_name_their_reason() {
    let parse = |message: &[u8]| StunView::parse(message).map(|_| ()).unwrap_err();
    for len in 0..20 {
        assert_eq!(parse(&SAMPLE_REQUEST[..len]), WireError::Truncated);
    }
    for len in 20..SAMPLE_REQUEST.len() {
        assert_eq!(parse(&SAMPLE_REQUEST[..len]), WireError::BadLength);
    }
    let longer = [&SAMPLE_REQUEST[..], &[0; 4]].concat();
    assert_eq!(parse(&longer), WireError::BadLength, "bytes behind the message");
    let mut cookie = SAMPLE_REQUEST;
    cookie[4] ^= 1;
    assert_eq!(parse(&cookie), WireError::NotStun);
    assert_eq!(
        parse(&raw(&[0, 6, 0])),
        WireError::BadLength,
        "no multiple of four"
    );
    assert_eq!(
        parse(&raw(&[0, 6, 0, 9, b'a', 0, 0, 0])),
        WireError::BadLength,
        "attribute overrun"
    );
    assert_eq!(
        parse(&raw(&[0, 6, 0, 2, 0xFF, 0xFE, 0, 0])),
        WireError::BadElement,
        "USERNAME isn't UTF-8"
    );
    assert_eq!(
        parse(&raw(&[0, 8, 0, 4, 0, 0, 0, 0])),
        WireError::BadElement,
        "short MESSAGE-INTEGRITY"
    );
    assert_eq!(
        parse(&raw(&[0x80, 0x28, 0, 0])),
        WireError::BadElement,
        "empty FINGERPRINT"
    );
    assert_eq!(
        parse(&raw(&[0, 0x24, 0, 0])),
        WireError::BadElement,
        "empty PRIORITY"
    );
    assert_eq!(
        parse(&raw(&[0, 0x20, 0, 4, 0, 3, 0, 0])),
        WireError::BadElement,
        "address family 3"
    );
    assert_eq!(
        parse(&raw(&[0, 9, 0, 4, 0, 0, 7, 0])),
        WireError::BadElement,
        "error 700"
    );
    let behind = [&[0x80, 0x28, 0, 4, 0, 0, 0, 0][..], &[0, 0x25, 0, 0]].concat();
    assert_eq!(
        parse(&raw(&behind)),
        WireError::BadElement,
        "FINGERPRINT isn't the last"
    );
}

#[test]
fn the_longest_username_is_508_bytes() {
    let name = |len| format!("{}:b", "a".repeat(len - 2));
    let longest = name(MAX_USERNAME);
    let message = emitted(&BindingRequest {
        username: &longest,
        ..full_request()
    });
    assert_eq!(StunView::parse(&message).unwrap().username(), Some(&*longest));
    let longer = name(MAX_USERNAME + 1);
    let mut out = [0; 1024];
    let request = BindingRequest {
        username: &longer,
        ..full_request()
    };
    assert_eq!(
        emit_binding_request(&mut out, &request, hmac),
        Err(WireError::BadElement)
    );
    let mut attribute = vec![0, 6, 1, 0xFD];
    attribute.extend(longer.as_bytes());
    attribute.resize(attribute.len().next_multiple_of(4), 0);
    assert_eq!(
        StunView::parse(&raw(&attribute)).map(|_| ()),
        Err(WireError::BadElement)
    );
}

/// Over IPv6 a client that leaves out all it can sends 8 bytes less than the answer has; by then it is authenticated.
#[test]
fn answers_are_no_amplification() {
    let bare = BindingRequest {
        username: "abcd:efgh",
        priority: None,
        role: None,
        use_candidate: false,
        ..full_request()
    };
    let mut out = [0; 128];
    let v4 = emit_binding_success(
        &mut out,
        &TRANSACTION,
        "192.0.2.1:1".parse().unwrap(),
        PASSWORD,
        hmac,
    )
    .unwrap();
    assert!(v4 <= emitted(&bare).len());
    let v6 =
        emit_binding_success(&mut out, &TRANSACTION, "[::1]:1".parse().unwrap(), PASSWORD, hmac).unwrap();
    assert!(v6 <= emitted(&full_request()).len());
}

#[test]
fn crc_of_the_check_string() {
    assert_eq!(crc::crc32(b"123456789"), 0xCBF4_3926);
    assert_eq!(crc::crc32(b""), 0);
}

#[test]
fn outputs_that_are_too_small_are_refused() {
    let needed = emitted(&full_request()).len();
    for room in 0..needed {
        assert_eq!(
            emit_binding_request(&mut vec![0; room], &full_request(), hmac),
            Err(WireError::NoSpace)
        );
    }
}

proptest! {
    #[test]
    fn never_panics(message in vec(any::<u8>(), 0..200)) {
        if let Ok(view) = StunView::parse(&message) {
            let _ = view.verify_integrity("x", |_, _| [0; 20]);
            let _ = view.fingerprint_ok();
        }
    }

    /// Framing that holds, so that every attribute parser sees noise.
    #[test]
    fn attributes_of_noise_never_panic(
        attributes in vec((prop::sample::select(vec![0u16, 6, 8, 9, 0x20, 0x24, 0x25, 0x8028, 0x8029, 0x802A]), vec(any::<u8>(), 0..24)), 0..8),
    ) {
        let mut body = Vec::new();
        for (kind, value) in attributes {
            body.extend(kind.to_be_bytes());
            body.extend(u16::try_from(value.len()).unwrap().to_be_bytes());
            body.extend(value);
            body.resize(body.len().next_multiple_of(4), 0);
        }
        let message = raw(&body);
        if let Ok(view) = StunView::parse(&message) {
            prop_assert!(!view.verify_integrity(PASSWORD, hmac));
            let _ = (view.fingerprint_ok(), view.ufrags(), view.mapped_address(), view.error_code());
        }
    }

    #[test]
    fn requests_are_read_back(
        transaction: TransactionId, local in "[a-zA-Z0-9+/]{4,250}", remote in "[a-zA-Z0-9+/]{4,250}",
        password in "[a-zA-Z0-9+/]{22,256}", priority: Option<u32>, role: Option<(bool, u64)>, use_candidate: bool,
    ) {
        let username = format!("{local}:{remote}");
        let role = role.map(|(controlling, tie)| {
            if controlling { IceRole::Controlling(tie) } else { IceRole::Controlled(tie) }
        });
        let request = BindingRequest {
            transaction, username: &username, password: &password, priority, role, use_candidate,
        };
        let message = emitted(&request);
        let view = StunView::parse(&message).unwrap();
        prop_assert!(view.is_binding_request() && view.verify_integrity(&password, hmac));
        prop_assert_eq!(view.fingerprint_ok(), Some(true));
        prop_assert_eq!(view.transaction_id(), transaction);
        prop_assert_eq!(view.ufrags(), Some((&*local, &*remote)));
        prop_assert_eq!((view.priority(), view.use_candidate()), (priority, use_candidate));
        let read = view.ice_controlling().map(IceRole::Controlling)
            .or(view.ice_controlled().map(IceRole::Controlled));
        prop_assert_eq!(read, role);
    }

    #[test]
    fn answers_are_read_back(transaction: TransactionId, v4: bool, bits: u128, port: u16) {
        let ip = if v4 {
            IpAddr::V4(Ipv4Addr::from_bits(u32::try_from(bits >> 96).unwrap()))
        } else {
            IpAddr::V6(Ipv6Addr::from_bits(bits))
        };
        let mapped = SocketAddr::new(ip, port);
        let mut out = [0; 76];
        let len = emit_binding_success(&mut out, &transaction, mapped, PASSWORD, hmac).unwrap();
        prop_assert_eq!(len, if v4 { 64 } else { 76 });
        let view = StunView::parse(&out[..len]).unwrap();
        prop_assert!(view.is_binding_success() && view.verify_integrity(PASSWORD, hmac));
        prop_assert_eq!(view.mapped_address(), Some(mapped));
        prop_assert_eq!(view.transaction_id(), transaction);
    }
}

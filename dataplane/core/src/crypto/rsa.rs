//! DTLS 1.2 with clients whose certificate may be RSA: GStreamer's are.
//!
//! RFC 8827 §6.5 asks every endpoint for ECDSA, so dimpl, which serves everybody else, knows nothing more. A server has to
//! name the kinds of certificates that it takes before it sees one (RFC 5246 §7.4.4), so who is served here is decided by the
//! `ClientHello`.

use std::collections::VecDeque;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use rtc_crypto::providers::AwsLcRsProvider;
use rtc_crypto::{RTCCryptoProvider, SignatureScheme as SigningScheme};
use rtc_dtls::cipher_suite::CipherSuiteId;
use rtc_dtls::config::{ClientAuthType, ConfigBuilder, ExtendedMasterSecretType, HandshakeConfig};
use rtc_dtls::crypto::Certificate;
use rtc_dtls::endpoint::{Endpoint, EndpointEvent};
use rtc_dtls::extension::extension_use_srtp::SrtpProtectionProfile;
use rtc_dtls::signature_hash_algorithm::SignatureScheme;
use rtc_shared::TransportProtocol;
use rustls_pki_types::CertificateDer;
use str0m::crypto::dtls::{
    DtlsCert, DtlsImplError, DtlsOutput, KeyingMaterial, ProtocolVersion, SrtpProfile,
};

use super::{DTLS_MTU, IdentityError};

/// RFC 5764 §4.2.
const EXPORTER_LABEL: &str = "EXTRACTOR-dtls_srtp";
/// The library knows its peers by address; each of ours has a library to itself.
const PEER: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9));
/// There is nothing to wait for.
const NEVER: Duration = Duration::from_secs(3600);
/// Datagrams to be sent, and messages to be read, that may wait: str0m takes them at once.
const WAITING: usize = 256;

/// Datagrams of a handshake, and bytes of each; a handshake on a bad path has some dozens, of 1200 bytes. The library keeps
/// what it can't read yet, so this is what a peer can make it keep.
const HANDSHAKE_DATAGRAMS: u32 = 256;
const HANDSHAKE_DATAGRAM: usize = 2048;

/// What all these associations share.
pub(super) fn config(identity: &DtlsCert) -> Result<Arc<HandshakeConfig>, IdentityError> {
    let refused = |error: &dyn fmt::Display| IdentityError::Config(error.to_string());
    let provider: Arc<dyn RTCCryptoProvider> = Arc::new(AwsLcRsProvider::new());
    let key = provider
        .crypto()
        .import_signing_key(SigningScheme::EcdsaP256Sha256, &identity.private_key)
        .map_err(|error| refused(&error))?;
    let certificate = CertificateDer::from(identity.certificate.clone());
    let config = ConfigBuilder::default()
        .with_crypto_provider(provider)
        .with_certificates(vec![Certificate::from_signing_key(vec![certificate], key)])
        .with_cipher_suites(vec![CipherSuiteId::Tls_Ecdhe_Ecdsa_With_Aes_128_Gcm_Sha256])
        .with_signature_schemes(vec![
            SignatureScheme::EcdsaWithP256AndSha256,
            SignatureScheme::EcdsaWithP384AndSha384,
            SignatureScheme::Pkcs1WithSha256,
            SignatureScheme::Pkcs1WithSha384,
            SignatureScheme::Pkcs1WithSha512,
        ])
        .with_srtp_protection_profiles(vec![
            SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm,
            SrtpProtectionProfile::Srtp_Aead_Aes_256_Gcm,
            SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80,
        ])
        // Its key is proved in the handshake; whose it is, the fingerprint of the offer says, which str0m compares.
        .with_client_auth(ClientAuthType::RequireAnyClientCert)
        .with_insecure_skip_verify(true)
        .with_extended_master_secret(ExtendedMasterSecretType::Require)
        .with_mtu(DTLS_MTU)
        .build(false, None)
        .map_err(|error| refused(&error))?;
    Ok(Arc::new(config))
}

/// What str0m has not been told yet, oldest first.
enum News {
    Connected,
    Certificate(Vec<u8>),
    Keys(Vec<u8>, SrtpProfile),
    Message(BytesMut),
    Closed,
}

/// One association, as the server.
pub(super) struct RsaDtls {
    /// A mutex for `Sync`, which str0m asks for; nobody else ever has it.
    endpoint: Mutex<Endpoint>,
    now: Instant,
    outgoing: VecDeque<BytesMut>,
    news: VecDeque<News>,
    /// Datagrams before it stood.
    taken: u32,
    connected: bool,
    closing: bool,
}

impl fmt::Debug for RsaDtls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RsaDtls")
    }
}

fn failed() -> DtlsImplError {
    DtlsImplError::ConnectionClosed
}

impl RsaDtls {
    pub(super) fn new(config: Arc<HandshakeConfig>, now: Instant) -> Self {
        Self {
            endpoint: Mutex::new(Endpoint::new(PEER, TransportProtocol::UDP, Some(config))),
            now,
            outgoing: VecDeque::new(),
            news: VecDeque::new(),
            taken: 0,
            connected: false,
            closing: false,
        }
    }

    fn endpoint(&mut self) -> &mut Endpoint {
        self.endpoint.get_mut().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what the library wants to send.
    fn collect(&mut self) {
        while let Some(packet) = self.endpoint().poll_transmit() {
            if self.outgoing.len() < WAITING {
                self.outgoing.push_back(packet.message);
            }
        }
    }

    pub(super) fn handle_packet(&mut self, packet: &[u8]) -> Result<(), DtlsImplError> {
        if self.closing {
            return Ok(());
        }
        if !self.connected {
            self.taken += 1;
            if self.taken > HANDSHAKE_DATAGRAMS {
                return Err(DtlsImplError::ReceiveQueueFull);
            }
            if packet.len() > HANDSHAKE_DATAGRAM {
                return Ok(());
            }
        }
        let now = self.now;
        let read = self.endpoint().read(now, PEER, None, BytesMut::from(packet));
        self.collect();
        let events = match read {
            Ok(events) => events,
            // Once it stands, what is wrong with a datagram is no reason to end: anybody could have sent it.
            Err(_) if self.connected => return Ok(()),
            Err(_) => return Err(failed()),
        };
        for event in events {
            match event {
                EndpointEvent::HandshakeComplete => self.complete()?,
                EndpointEvent::ApplicationData(data) if self.news.len() < WAITING => {
                    self.news.push_back(News::Message(data));
                }
                EndpointEvent::PeerClosed => {
                    self.closing = true;
                    self.news.push_back(News::Closed);
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn complete(&mut self) -> Result<(), DtlsImplError> {
        let state = self.endpoint().get_connection_state(PEER).ok_or_else(failed)?;
        let profile = match state.srtp_protection_profile() {
            SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm => SrtpProfile::AEAD_AES_128_GCM,
            SrtpProtectionProfile::Srtp_Aead_Aes_256_Gcm => SrtpProfile::AEAD_AES_256_GCM,
            SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80 => SrtpProfile::AES128_CM_SHA1_80,
            _ => return Err(failed()),
        };
        let certificate = state.peer_certificates.first().cloned().ok_or_else(failed)?;
        let keys = state
            .export_keying_material(EXPORTER_LABEL, &[], profile.keying_material_len())
            .map_err(|_| failed())?;
        let keys = keys.as_ref().to_vec();
        self.connected = true;
        // Nobody is connected before its certificate was compared.
        self.news.extend([
            News::Certificate(certificate),
            News::Keys(keys, profile),
            News::Connected,
        ]);
        Ok(())
    }

    pub(super) fn poll_output<'a>(&mut self, buf: &'a mut [u8]) -> DtlsOutput<'a> {
        while let Some(packet) = self.outgoing.pop_front() {
            if let Some(room) = buf.get_mut(..packet.len()) {
                room.copy_from_slice(&packet);
                return DtlsOutput::Packet(&buf[..packet.len()]);
            }
        }
        while let Some(news) = self.news.pop_front() {
            let (bytes, output): (_, fn(&'a [u8]) -> DtlsOutput<'a>) = match &news {
                News::Connected => return DtlsOutput::Connected,
                News::Closed => return DtlsOutput::CloseNotify,
                News::Keys(keys, profile) => {
                    return DtlsOutput::KeyingMaterial(KeyingMaterial::new(keys), *profile);
                }
                News::Certificate(der) => (der.as_slice(), |bytes| DtlsOutput::PeerCert(bytes)),
                News::Message(data) => (&data[..], |bytes| DtlsOutput::ApplicationData(bytes)),
            };
            // What doesn't fit is larger than any that a browser sends: dropped, as UDP would.
            if let Some(room) = buf.get_mut(..bytes.len()) {
                room.copy_from_slice(bytes);
                return output(&buf[..bytes.len()]);
            }
        }
        let next = self.endpoint().poll_timeout(&PEER);
        DtlsOutput::Timeout(next.unwrap_or(self.now + NEVER))
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) -> Result<(), DtlsImplError> {
        self.now = now;
        if self.closing || self.endpoint().get_connection_state(PEER).is_none() {
            return Ok(());
        }
        let handled = self.endpoint().handle_timeout(PEER, now);
        self.collect();
        handled.map_err(|_| failed())
    }

    pub(super) fn send_application_data(&mut self, data: &[u8]) -> Result<usize, DtlsImplError> {
        if !self.connected {
            return Ok(0);
        }
        if self.closing {
            return Err(failed());
        }
        let now = self.now;
        let written = self.endpoint().write(now, PEER, data);
        self.collect();
        written.map(|()| data.len()).map_err(|_| failed())
    }

    pub(super) fn protocol_version(&self) -> Option<ProtocolVersion> {
        self.connected.then_some(ProtocolVersion::DTLS1_2)
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closing && self.outgoing.is_empty()
    }

    pub(super) fn close(&mut self) {
        if !std::mem::replace(&mut self.closing, true) {
            let now = self.now;
            // Queues a close_notify.
            let _ = self.endpoint().stop(now, PEER);
            self.collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A client of the same library, and the way between both.
    struct Bench {
        server: RsaDtls,
        configs: (Arc<HandshakeConfig>, Arc<HandshakeConfig>),
        client: Endpoint,
        client_certificate: Option<Vec<u8>>,
        now: Instant,
        told: Vec<Told>,
        heard: Vec<Vec<u8>>,
        client_closed: bool,
    }

    #[derive(Debug, PartialEq, Eq)]
    enum Told {
        Connected,
        Certificate(Vec<u8>),
        Keys(Vec<u8>),
        Message(Vec<u8>),
        Closed,
    }

    impl Bench {
        fn new(certificate: Option<&'static rcgen::SignatureAlgorithm>) -> Self {
            let provider: Arc<dyn RTCCryptoProvider> = Arc::new(AwsLcRsProvider::new());
            let certificate = certificate.map(|algorithm| {
                Certificate::generate_self_signed_with_alg(vec![], algorithm, provider.crypto()).unwrap()
            });
            let client_certificate = certificate.as_ref().map(|one| one.certificate[0].to_vec());
            let client = ConfigBuilder::default()
                .with_crypto_provider(provider)
                .with_certificates(certificate.into_iter().collect())
                .with_srtp_protection_profiles(vec![SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80])
                .with_insecure_skip_verify(true)
                .build(true, Some(PEER))
                .unwrap();
            let made = dimpl::certificate::generate_self_signed_certificate().unwrap();
            let identity = DtlsCert {
                certificate: made.certificate,
                private_key: made.private_key,
            };
            let mut bench = Self::between(Arc::new(client), config(&identity).unwrap());
            bench.client_certificate = client_certificate;
            bench
        }

        fn between(client: Arc<HandshakeConfig>, server: Arc<HandshakeConfig>) -> Self {
            let now = Instant::now();
            let mut endpoint = Endpoint::new(PEER, TransportProtocol::UDP, None);
            endpoint.connect(now, PEER, client.clone(), None).unwrap();
            Self {
                server: RsaDtls::new(server.clone(), now),
                configs: (client, server),
                client: endpoint,
                client_certificate: None,
                now,
                told: Vec::new(),
                heard: Vec::new(),
                client_closed: false,
            }
        }

        /// Another handshake between the same two.
        fn again(&self) -> Self {
            let (client, server) = self.configs.clone();
            Self::between(client, server)
        }

        /// Lets datagrams go both ways until none is left, but for those of the server that `lost` takes.
        fn exchange(&mut self, lost: impl FnMut() -> bool) -> Result<(), DtlsImplError> {
            self.exchange_changed(lost, |_| {})
        }

        /// Those of the client are changed on their way.
        fn exchange_changed(
            &mut self,
            mut lost: impl FnMut() -> bool,
            mut change: impl FnMut(&mut Vec<u8>),
        ) -> Result<(), DtlsImplError> {
            loop {
                let mut any = false;
                while let Some(packet) = self.client.poll_transmit() {
                    any = true;
                    let mut packet = packet.message.to_vec();
                    change(&mut packet);
                    self.server.handle_packet(&packet)?;
                }
                let mut buf = [0; 2000];
                loop {
                    match self.server.poll_output(&mut buf) {
                        DtlsOutput::Packet(_) if lost() => {}
                        DtlsOutput::Packet(packet) => {
                            any = true;
                            let events = self.client.read(self.now, PEER, None, BytesMut::from(packet));
                            for event in events.unwrap_or_default() {
                                match event {
                                    EndpointEvent::ApplicationData(data) => self.heard.push(data.to_vec()),
                                    EndpointEvent::PeerClosed => self.client_closed = true,
                                    _ => {}
                                }
                            }
                        }
                        DtlsOutput::Connected => self.told.push(Told::Connected),
                        DtlsOutput::PeerCert(der) => self.told.push(Told::Certificate(der.to_vec())),
                        DtlsOutput::KeyingMaterial(keys, SrtpProfile::AES128_CM_SHA1_80) => {
                            self.told.push(Told::Keys(keys.as_ref().to_vec()));
                        }
                        DtlsOutput::ApplicationData(data) => self.told.push(Told::Message(data.to_vec())),
                        DtlsOutput::CloseNotify => self.told.push(Told::Closed),
                        DtlsOutput::Timeout(_) => break,
                        other => panic!("{other:?}"),
                    }
                }
                if !any {
                    return Ok(());
                }
            }
        }

        fn pass(&mut self, time: Duration) {
            self.now += time;
            self.server.handle_timeout(self.now).unwrap();
            self.client.handle_timeout(PEER, self.now).unwrap();
        }

        fn keys_of_client(&self) -> Vec<u8> {
            let state = self.client.get_connection_state(PEER).unwrap();
            let keys = state.export_keying_material(
                EXPORTER_LABEL,
                &[],
                SrtpProfile::AES128_CM_SHA1_80.keying_material_len(),
            );
            keys.unwrap().as_ref().to_vec()
        }
    }

    #[test]
    fn clients_with_rsa_and_with_ecdsa_certificates_are_served() {
        for algorithm in [&rcgen::PKCS_RSA_SHA256, &rcgen::PKCS_ECDSA_P256_SHA256] {
            let mut bench = Bench::new(Some(algorithm));
            assert_eq!(bench.server.send_application_data(b"early"), Ok(0));
            bench.exchange(|| false).unwrap();
            let certificate = bench.client_certificate.clone().unwrap();
            let keys = bench.keys_of_client();
            assert_eq!(
                bench.told,
                [Told::Certificate(certificate), Told::Keys(keys), Told::Connected]
            );
            assert_eq!(bench.server.protocol_version(), Some(ProtocolVersion::DTLS1_2));
            bench.told.clear();
            bench.client.write(bench.now, PEER, b"to the server").unwrap();
            assert_eq!(bench.server.send_application_data(b"to the client"), Ok(13));
            bench.exchange(|| false).unwrap();
            assert_eq!(bench.told, [Told::Message(b"to the server".to_vec())]);
            assert_eq!(bench.heard, [b"to the client".to_vec()]);
        }
    }

    #[test]
    fn a_client_without_a_certificate_is_refused() {
        let mut bench = Bench::new(None);
        assert!(bench.exchange(|| false).is_err());
        assert!(!bench.told.contains(&Told::Connected));
    }

    #[test]
    fn what_is_lost_of_a_handshake_is_sent_again() {
        let mut bench = Bench::new(Some(&rcgen::PKCS_RSA_SHA256));
        let mut left = 5;
        for _ in 0..20 {
            let lost = || {
                left -= 1;
                left % 2 == 0 && left > -4
            };
            bench.exchange(lost).unwrap();
            bench.pass(Duration::from_millis(1100));
        }
        assert_eq!(bench.told.last(), Some(&Told::Connected));
        assert!(left < 0, "something was lost");
    }

    #[test]
    fn what_strangers_send_ends_nothing() {
        let mut bench = Bench::new(Some(&rcgen::PKCS_RSA_SHA256));
        bench.exchange(|| false).unwrap();
        let mut random = fastrand::Rng::with_seed(7);
        for length in 0..300 {
            let mut datagram: Vec<u8> = (0..length).map(|_| random.u8(..)).collect();
            bench.server.handle_packet(&datagram).unwrap();
            // As a record of the handshake, an alert, or data.
            for (kind, epoch) in [(22, 0), (21, 0), (23, 0), (22, 1), (21, 1), (23, 1)] {
                if let Some(header) = datagram.first_chunk_mut::<13>() {
                    let rest = u16::try_from(length - 13).unwrap().to_be_bytes();
                    *header = [kind, 0xfe, 0xfd, 0, epoch, 0, 0, 0, 0, 1, 0, rest[0], rest[1]];
                }
                bench.server.handle_packet(&datagram).unwrap();
            }
        }
        bench.told.clear();
        bench.client.write(bench.now, PEER, b"still here").unwrap();
        bench.exchange(|| false).unwrap();
        assert_eq!(bench.told, [Told::Message(b"still here".to_vec())]);
    }

    /// `ROUNDS=60000` in the environment tries longer.
    #[test]
    fn what_a_client_sends_wrong_harms_nobody() {
        let first = Bench::new(Some(&rcgen::PKCS_ECDSA_P256_SHA256));
        let rounds = std::env::var("ROUNDS").map_or(300, |rounds| rounds.parse().unwrap());
        let mut ended = [0; 3];
        for seed in 0..rounds {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut bench = first.again();
            let mut changes = random.u32(1..4);
            let change = |packet: &mut Vec<u8>| {
                if changes == 0 || random.u8(..3) > 0 || packet.is_empty() {
                    return;
                }
                changes -= 1;
                let at = random.usize(..packet.len());
                match random.u8(..5) {
                    0 => packet[at] ^= 1 << random.u8(..8),
                    1 => packet[at] = random.choice([0, 1, 0x7f, 0x80, 0xff]).unwrap(),
                    2 => packet.truncate(at),
                    3 => packet.insert(at, random.u8(..)),
                    _ => packet.extend_from_within(at..),
                }
            };
            let result = bench.exchange_changed(|| false, change);
            let connected = bench.told.contains(&Told::Connected);
            ended[if connected {
                0
            } else {
                1 + usize::from(result.is_err())
            }] += 1;
        }
        assert!(
            ended.iter().all(|count| *count > 0),
            "connected, waiting, refused: {ended:?}"
        );
    }

    #[test]
    fn a_handshake_that_never_ends_is_ended() {
        let mut bench = Bench::new(Some(&rcgen::PKCS_RSA_SHA256));
        // Of the next epoch: kept until the keys are there.
        let record = [&[23, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, 9, 0, 100][..], &[7; 100]].concat();
        for _ in 0..HANDSHAKE_DATAGRAMS {
            bench.server.handle_packet(&record).unwrap();
        }
        assert_eq!(
            bench.server.handle_packet(&record),
            Err(DtlsImplError::ReceiveQueueFull)
        );
    }

    #[test]
    fn each_side_can_close() {
        let mut bench = Bench::new(Some(&rcgen::PKCS_RSA_SHA256));
        bench.exchange(|| false).unwrap();
        bench.server.close();
        assert!(bench.server.is_closing() && !bench.server.is_closed());
        bench.exchange(|| false).unwrap();
        assert!(bench.client_closed && bench.server.is_closed());

        let mut bench = Bench::new(Some(&rcgen::PKCS_RSA_SHA256));
        bench.exchange(|| false).unwrap();
        bench.client.stop(bench.now, PEER);
        bench.exchange(|| false).unwrap();
        assert_eq!(bench.told.last(), Some(&Told::Closed));
        assert!(bench.server.is_closing());
        assert!(bench.server.send_application_data(b"late").is_err());
    }
}

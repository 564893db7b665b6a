//! Signatures as in Standard Webhooks 1.0.0.

use std::io::{self, Read};

use ring::hmac;

use crate::model::base64;

/// What is signed with: the bytes behind `whsec_`.
pub(super) struct SigningKey(hmac::Key);

impl SigningKey {
    /// None, unless it is `whsec_` and Base64.
    pub(super) fn parse(secret: &str) -> Option<SigningKey> {
        let key = base64::decode(secret.strip_prefix("whsec_")?)?;
        (!key.is_empty()).then(|| SigningKey(hmac::Key::new(hmac::HMAC_SHA256, &key)))
    }
}

/// The headers of a message, all but the signature.
pub(super) struct SignedMessage<'a> {
    /// The same in each attempt; without a dot, which separates the parts.
    pub(super) id: &'a str,
    pub(super) timestamp_s: i64,
}

impl SignedMessage<'_> {
    /// The header `webhook-signature`, with a signature by each key.
    pub(super) fn signature(&self, keys: &[SigningKey], body: &mut dyn Read) -> io::Result<String> {
        let head = format!("{}.{}.", self.id, self.timestamp_s);
        let mut contexts: Vec<_> = keys
            .iter()
            .map(|key| hmac::Context::with_key(&key.0))
            .collect();
        let mut update = |bytes: &[u8]| {
            contexts
                .iter_mut()
                .for_each(|context| context.update(bytes))
        };
        update(head.as_bytes());
        let mut buffer = vec![0; 64 * 1024];
        loop {
            match body.read(&mut buffer)? {
                0 => break,
                read => update(&buffer[..read]),
            }
        }
        let signatures = contexts
            .into_iter()
            .map(|context| format!("v1,{}", base64::encode(context.sign().as_ref())));
        Ok(signatures.collect::<Vec<_>>().join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_specification_holds() {
        let key = SigningKey::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let other = SigningKey::parse("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD").unwrap();
        let message = SignedMessage {
            id: "msg_p5jXN8AQM9LWM0D4loKWxJek",
            timestamp_s: 1_614_265_330,
        };
        let mut body = &br#"{"test": 2432232314}"#[..];
        let signature = message.signature(&[key, other], &mut body).unwrap();
        let (first, second) = signature.split_once(' ').unwrap();
        assert_eq!(first, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        assert!(second.starts_with("v1,") && second.len() == first.len() && second != first);
    }

    #[test]
    fn a_secret_of_another_form_is_no_key() {
        for secret in [
            "",
            "whsec_",
            "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "whsec_!",
            "whsk_MfKQ",
        ] {
            assert!(SigningKey::parse(secret).is_none(), "{secret}");
        }
    }
}

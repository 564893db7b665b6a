//! What a response means for the job: one pure function.

use std::time::Duration;

use crate::handlers::http::StatusClass;
use crate::handlers::webhook::payload::{OnMismatch, StatusPattern, Webhook};

/// What is known of a response.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ResponseSummary {
    pub(super) status: u16,
    /// What it says in `retry-after`.
    pub(super) retry_after: Option<Duration>,
    /// It says `webhook-delivery: abort-message`.
    pub(super) is_aborted: bool,
    /// The body is what is expected.
    pub(super) has_expected_body: bool,
}

/// What follows from a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ResponseVerdict {
    Done,
    /// Try again, but not before this time.
    Retry(Option<Duration>),
    Fail,
}

/// What a payload says of responses.
pub(super) struct ResponseRules<'a> {
    pub(super) expected: &'a [StatusPattern],
    pub(super) retry_on: &'a [StatusPattern],
    pub(super) fail_on: &'a [StatusPattern],
    pub(super) on_mismatch: OnMismatch,
    /// The same request is not served twice.
    pub(super) has_key: bool,
}

impl<'a> ResponseRules<'a> {
    pub(super) fn of(webhook: &'a Webhook, has_key: bool) -> ResponseRules<'a> {
        ResponseRules {
            expected: &webhook.expect.status,
            retry_on: &webhook.retry_on,
            fail_on: &webhook.fail_on,
            on_mismatch: webhook.on_mismatch,
            has_key,
        }
    }

    /// Whether the status is the expected one, so that the body is looked at.
    pub(super) fn expects(&self, status: u16) -> bool {
        let is_in = |list: &[StatusPattern]| list.iter().any(|pattern| pattern.fits(status));
        match self.expected {
            [] => StatusClass::of(status) == StatusClass::Success,
            expected => is_in(expected),
        }
    }

    pub(super) fn judge(&self, answer: ResponseSummary) -> ResponseVerdict {
        let ResponseSummary { status, .. } = answer;
        let is_in = |list: &[StatusPattern]| list.iter().any(|pattern| pattern.fits(status));
        let may_wait = matches!(status, 413 | 429 | 503);
        let after = answer.retry_after.filter(|_| may_wait);
        if is_in(self.fail_on) {
            ResponseVerdict::Fail
        } else if is_in(self.retry_on) {
            ResponseVerdict::Retry(after)
        } else if self.expects(status) {
            match (answer.has_expected_body, self.on_mismatch) {
                (true, _) => ResponseVerdict::Done,
                (false, OnMismatch::Retry) => ResponseVerdict::Retry(answer.retry_after),
                (false, OnMismatch::Fail) => ResponseVerdict::Fail,
            }
        } else if answer.is_aborted {
            ResponseVerdict::Fail
        } else {
            // With a key, 409 says that the first of them is still served.
            match StatusClass::of(status) {
                _ if status == 409 && self.has_key => ResponseVerdict::Retry(None),
                _ if after.is_some() => ResponseVerdict::Retry(after),
                StatusClass::Temporary => ResponseVerdict::Retry(None),
                StatusClass::Success | StatusClass::Final => ResponseVerdict::Fail,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::ResponseVerdict::*;
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn rules() -> ResponseRules<'static> {
        ResponseRules {
            expected: &[],
            retry_on: &[],
            fail_on: &[],
            on_mismatch: OnMismatch::Retry,
            has_key: false,
        }
    }

    fn answer(status: u16) -> ResponseSummary {
        ResponseSummary {
            status,
            has_expected_body: true,
            ..ResponseSummary::default()
        }
    }

    #[test]
    fn each_status_has_an_outcome_of_its_own() {
        let rules = rules();
        for status in [200, 201, 202, 204, 299] {
            assert_eq!(rules.judge(answer(status)), Done, "{status}");
        }
        for status in [
            408, 423, 425, 429, 500, 502, 503, 504, 507, 509, 520, 521, 522, 523, 524, 525, 526,
            527, 529, 530, 506, 508, 510, 599,
        ] {
            assert_eq!(rules.judge(answer(status)), Retry(None), "{status}");
        }
        for status in [
            300, 301, 302, 303, 304, 307, 308, 400, 401, 402, 403, 404, 405, 406, 407, 409, 410,
            411, 412, 413, 414, 415, 416, 417, 418, 421, 422, 424, 426, 428, 431, 451, 501, 505,
            511, 100, 399, 600, 999,
        ] {
            assert_eq!(rules.judge(answer(status)), Fail, "{status}");
        }
    }

    #[test]
    fn a_server_that_asks_to_wait_is_asked_later() {
        let rules = rules();
        let asks = |status| ResponseSummary {
            retry_after: Some(MINUTE),
            ..answer(status)
        };
        for status in [413, 429, 503] {
            assert_eq!(rules.judge(asks(status)), Retry(Some(MINUTE)), "{status}");
        }
        assert_eq!(rules.judge(asks(500)), Retry(None));
        assert_eq!(rules.judge(asks(404)), Fail);
        assert_eq!(rules.judge(asks(200)), Done);
    }

    #[test]
    fn a_conflict_is_tried_again_only_with_a_key() {
        let with_key = ResponseRules {
            has_key: true,
            ..rules()
        };
        assert_eq!(with_key.judge(answer(409)), Retry(None));
        assert_eq!(with_key.judge(answer(422)), Fail);
        assert_eq!(rules().judge(answer(409)), Fail);
    }

    #[test]
    fn a_receiver_can_end_the_delivery() {
        let aborted = |status| ResponseSummary {
            is_aborted: true,
            retry_after: Some(MINUTE),
            ..answer(status)
        };
        assert_eq!(rules().judge(aborted(500)), Fail);
        assert_eq!(rules().judge(aborted(503)), Fail);
        assert_eq!(rules().judge(aborted(200)), Done);
    }

    #[test]
    fn another_body_than_the_expected_is_not_ready_yet() {
        let other = |status| ResponseSummary {
            has_expected_body: false,
            ..answer(status)
        };
        assert_eq!(rules().judge(other(200)), Retry(None));
        assert_eq!(rules().judge(other(404)), Fail);
        let asks = ResponseSummary {
            retry_after: Some(MINUTE),
            ..other(202)
        };
        assert_eq!(rules().judge(asks), Retry(Some(MINUTE)));
        let strict = ResponseRules {
            on_mismatch: OnMismatch::Fail,
            ..rules()
        };
        assert_eq!(strict.judge(other(200)), Fail);
        assert_eq!(strict.judge(other(503)), Retry(None));
    }

    #[test]
    fn the_lists_of_the_payload_win_over_the_table() {
        let [ok, missing, broken, all] =
            ["2xx", "404", "5xx", "202"].map(|text| text.parse::<StatusPattern>().unwrap());
        let own = ResponseRules {
            expected: &[missing],
            retry_on: &[ok, StatusPattern::One(503)],
            fail_on: &[broken, all],
            ..rules()
        };
        assert_eq!(own.judge(answer(404)), Done);
        assert_eq!(own.judge(answer(200)), Retry(None));
        assert_eq!(own.judge(answer(202)), Fail, "fail_on wins over retry_on");
        assert_eq!(own.judge(answer(503)), Fail);
        assert_eq!(own.judge(answer(429)), Retry(None));
        let waits = ResponseRules {
            retry_on: &[StatusPattern::One(503)],
            ..rules()
        };
        let asked = ResponseSummary {
            retry_after: Some(MINUTE),
            ..answer(503)
        };
        assert_eq!(waits.judge(asked), Retry(Some(MINUTE)));
    }

    #[test]
    fn success_is_no_success_where_another_status_is_expected() {
        let expects = ResponseRules {
            expected: &[StatusPattern::One(201)],
            ..rules()
        };
        assert_eq!(expects.judge(answer(201)), Done);
        assert_eq!(expects.judge(answer(200)), Fail);
        assert_eq!(expects.judge(answer(500)), Retry(None));
    }
}

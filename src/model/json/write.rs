//! Writing a value as JSON without silent loss: serde_json writes `null` for NaN and the infinities.

use std::fmt::Display;

use serde::ser;
use serde::ser::{Serialize, Serializer};

/// The value as JSON.
///
/// # Errors
/// The value cannot be written: a number is not finite, a key is not a text, or its own code fails. The
/// message names the path of fields to the fault.
pub(crate) fn write(value: &(impl Serialize + ?Sized)) -> Result<String, serde_json::Error> {
    serde_json::to_string(&Finite(value))
}

/// A value that is refused where a number in it is not finite.
struct Finite<'a, T: ?Sized>(&'a T);

impl<T: Serialize + ?Sized> Serialize for Finite<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(FiniteOnly(serializer))
    }
}

/// Hands everything on, and every value within as a [`Finite`].
struct FiniteOnly<S>(S);

fn not_finite<E: ser::Error>(number: impl Display) -> E {
    E::custom(format_args!("{number} is not a number in JSON"))
}

fn within<E: ser::Error>(field: &str, error: &E) -> E {
    E::custom(format_args!("{field}: {error}"))
}

/// What has no value within.
macro_rules! hand_on {
    ($($name:ident($($arg:ident: $type:ty),*);)*) => {
        $(fn $name(self $(, $arg: $type)*) -> Result<S::Ok, S::Error> {
            self.0.$name($($arg),*)
        })*
    };
}

/// What has values within, one by one.
macro_rules! hand_on_compound {
    ($($name:ident($($arg:ident: $type:ty),*) -> $compound:ident;)*) => {
        $(fn $name(self $(, $arg: $type)*) -> Result<Self::$compound, S::Error> {
            self.0.$name($($arg),*).map(FiniteOnly)
        })*
    };
}

impl<S: Serializer> Serializer for FiniteOnly<S> {
    type Ok = S::Ok;
    type Error = S::Error;
    type SerializeSeq = FiniteOnly<S::SerializeSeq>;
    type SerializeTuple = FiniteOnly<S::SerializeTuple>;
    type SerializeTupleStruct = FiniteOnly<S::SerializeTupleStruct>;
    type SerializeTupleVariant = FiniteOnly<S::SerializeTupleVariant>;
    type SerializeMap = FiniteOnly<S::SerializeMap>;
    type SerializeStruct = FiniteOnly<S::SerializeStruct>;
    type SerializeStructVariant = FiniteOnly<S::SerializeStructVariant>;

    fn serialize_f32(self, number: f32) -> Result<S::Ok, S::Error> {
        match number.is_finite() {
            true => self.0.serialize_f32(number),
            false => Err(not_finite(number)),
        }
    }

    fn serialize_f64(self, number: f64) -> Result<S::Ok, S::Error> {
        match number.is_finite() {
            true => self.0.serialize_f64(number),
            false => Err(not_finite(number)),
        }
    }

    hand_on! {
        serialize_bool(value: bool);
        serialize_i8(value: i8);
        serialize_i16(value: i16);
        serialize_i32(value: i32);
        serialize_i64(value: i64);
        serialize_i128(value: i128);
        serialize_u8(value: u8);
        serialize_u16(value: u16);
        serialize_u32(value: u32);
        serialize_u64(value: u64);
        serialize_u128(value: u128);
        serialize_char(value: char);
        serialize_str(value: &str);
        serialize_bytes(value: &[u8]);
        serialize_none();
        serialize_unit();
        serialize_unit_struct(name: &'static str);
        serialize_unit_variant(name: &'static str, index: u32, variant: &'static str);
    }

    hand_on_compound! {
        serialize_seq(len: Option<usize>) -> SerializeSeq;
        serialize_tuple(len: usize) -> SerializeTuple;
        serialize_tuple_struct(name: &'static str, len: usize) -> SerializeTupleStruct;
        serialize_tuple_variant(name: &'static str, index: u32, variant: &'static str, len: usize)
            -> SerializeTupleVariant;
        serialize_map(len: Option<usize>) -> SerializeMap;
        serialize_struct(name: &'static str, len: usize) -> SerializeStruct;
        serialize_struct_variant(name: &'static str, index: u32, variant: &'static str, len: usize)
            -> SerializeStructVariant;
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        self.0.serialize_some(&Finite(value))
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        self.0.serialize_newtype_struct(name, &Finite(value))
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        let written = (self.0).serialize_newtype_variant(name, index, variant, &Finite(value));
        written.map_err(|error| within(variant, &error))
    }

    fn collect_str<T: Display + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        self.0.collect_str(value)
    }

    fn is_human_readable(&self) -> bool {
        self.0.is_human_readable()
    }
}

/// Values in a row.
macro_rules! row {
    ($($trait:ident::$name:ident;)*) => {
        $(impl<S: ser::$trait> ser::$trait for FiniteOnly<S> {
            type Ok = S::Ok;
            type Error = S::Error;

            fn $name<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), S::Error> {
                self.0.$name(&Finite(value))
            }

            fn end(self) -> Result<S::Ok, S::Error> {
                self.0.end()
            }
        })*
    };
}

row! {
    SerializeSeq::serialize_element;
    SerializeTuple::serialize_element;
    SerializeTupleStruct::serialize_field;
    SerializeTupleVariant::serialize_field;
}

/// Values with names.
macro_rules! named {
    ($($trait:ident;)*) => {
        $(impl<S: ser::$trait> ser::$trait for FiniteOnly<S> {
            type Ok = S::Ok;
            type Error = S::Error;

            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                key: &'static str,
                value: &T,
            ) -> Result<(), S::Error> {
                let written = self.0.serialize_field(key, &Finite(value));
                written.map_err(|error| within(key, &error))
            }

            fn skip_field(&mut self, key: &'static str) -> Result<(), S::Error> {
                self.0.skip_field(key)
            }

            fn end(self) -> Result<S::Ok, S::Error> {
                self.0.end()
            }
        })*
    };
}

named! {
    SerializeStruct;
    SerializeStructVariant;
}

impl<S: ser::SerializeMap> ser::SerializeMap for FiniteOnly<S> {
    type Ok = S::Ok;
    type Error = S::Error;

    /// A key that is not finite is refused by serde_json itself.
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), S::Error> {
        self.0.serialize_key(key)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), S::Error> {
        self.0.serialize_value(&Finite(value))
    }

    fn end(self) -> Result<S::Ok, S::Error> {
        self.0.end()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Serialize;
    use serde_json::json;
    use serde_json::value::RawValue;

    use super::*;

    #[derive(Serialize)]
    enum JsonShape {
        Unit,
        New(Option<f64>),
        Tuple(u8, f32),
        Struct { side: f64 },
    }

    #[derive(Serialize)]
    struct All<'a> {
        text: &'a str,
        bytes: &'a [u8],
        large: i128,
        shapes: Vec<JsonShape>,
        map: BTreeMap<u8, f64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        left_out: Option<u8>,
        raw: &'a RawValue,
        value: serde_json::Value,
    }

    #[test]
    fn what_is_finite_is_written_as_serde_json_writes_it() {
        let raw: Box<RawValue> = RawValue::from_string(r#"{ "a": 1.50 }"#.to_owned()).unwrap();
        let all = All {
            text: "é\n",
            bytes: b"\xff",
            large: i128::MAX,
            shapes: vec![
                JsonShape::Unit,
                JsonShape::New(None),
                JsonShape::New(Some(-0.0)),
                JsonShape::Tuple(1, 0.1),
                JsonShape::Struct { side: 1e300 },
            ],
            map: BTreeMap::from([(1, 2.0)]),
            left_out: None,
            raw: &raw,
            value: json!({"a": [null, 1.5, "x"]}),
        };
        assert_eq!(write(&all).unwrap(), serde_json::to_string(&all).unwrap());
    }

    #[test]
    fn a_number_that_json_has_not_is_refused_and_its_field_named() {
        #[derive(Serialize)]
        struct Outer<T> {
            inner: T,
        }
        let refused = |value: &dyn erased::Value| value.refused();
        for (value, why) in [
            (
                &f64::NAN as &dyn erased::Value,
                "NaN is not a number in JSON",
            ),
            (&f32::INFINITY, "inf is not a number in JSON"),
            (&vec![Some(1.0), Some(-f64::INFINITY)], "-inf is not"),
            (
                &Outer {
                    inner: JsonShape::Struct { side: f64::NAN },
                },
                "inner: side: NaN is not",
            ),
            (
                &Outer {
                    inner: JsonShape::New(Some(f64::NAN)),
                },
                "inner: New: NaN is not",
            ),
            (
                &Outer {
                    inner: (1, f64::NAN),
                },
                "inner: NaN is not",
            ),
            (&BTreeMap::from([("a", f64::NAN)]), "NaN is not"),
        ] {
            let error = refused(value);
            assert!(error.starts_with(why), "{error}");
        }
    }

    /// Values of any type in one list.
    mod erased {
        pub(super) trait Value {
            fn refused(&self) -> String;
        }

        impl<T: serde::Serialize> Value for T {
            fn refused(&self) -> String {
                crate::model::json::write(self).unwrap_err().to_string()
            }
        }
    }
}

//! `point`, PostGIS' `geometry`, and where they come from: GeoJSON and legacy coordinate pairs.
//!
//! Longitude comes first in all of them, and is `x`. Formats: `point_recv`, two doubles; EWKB for
//! a geometry, as `geometry_recv` takes it: the byte order, the kind with its flags, the
//! reference system, the coordinates.

use bson::spec::ElementType;

use super::scalar::exact_double;
use super::{CellContext, Mismatch, PathStep, Scalar, ToCell, Wrote};
use crate::reject::Reason;
use crate::schema::{BaseType, CellType};
use crate::value::Value;

/// A point of the plane: a `point` column.
///
/// It is read from a pair `[lng, lat]`, from GeoJSON of the type `Point` without an altitude, and
/// from an embedded document with two numbers named as a point's are: `{lng, lat}`, `{lon, lat}`,
/// `{longitude, latitude}` or `{x, y}`, in any order.
///
/// ```
/// use migrate_core::{Migrate, Point};
/// use uuid::Uuid;
///
/// #[derive(Migrate)]
/// struct Theaters {
///     #[migrate(id)]
///     id: Uuid,
///     place: Option<Point>,
/// }
///
/// assert_eq!(Theaters::MODEL.get().columns[1].sql_type(), "point");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Point {
    /// The longitude.
    pub x: f64,
    /// The latitude.
    pub y: f64,
}

const POINT: &str = "a point: a pair [lng, lat], GeoJSON of the type Point or {lng, lat}";

impl ToCell for Point {
    const TYPE: CellType = CellType::scalar(BaseType::Other("point"));
    type Literal = Self;

    fn encode(value: Value<'_>, _: &CellContext, out: &mut Vec<u8>) -> Result<Wrote, Mismatch> {
        let [x, y] = pair(value)?;
        out.extend_from_slice(&x.to_be_bytes());
        out.extend_from_slice(&y.to_be_bytes());
        Ok(Wrote::Payload)
    }

    fn write(&self, _: &CellContext, out: &mut Vec<u8>) -> Result<Wrote, Mismatch> {
        out.extend_from_slice(&self.x.to_be_bytes());
        out.extend_from_slice(&self.y.to_be_bytes());
        Ok(Wrote::Payload)
    }
}

impl Scalar for Point {}

/// Longitude and latitude of what is a point in any of its forms.
pub(crate) fn pair(value: Value<'_>) -> Result<[f64; 2], Mismatch> {
    match value.kind {
        ElementType::Array => {
            let mut position = Position::read(value)?;
            match (position.length, &mut position.numbers) {
                (2, [x, y, _]) => Ok([*x, *y]),
                (length, _) => Err(Mismatch::new(
                    Reason::Shape,
                    "two coordinates (`with = ..` can leave an altitude out)",
                    format!("{length}"),
                )),
            }
        }
        ElementType::EmbeddedDocument => {
            if let Some(coordinates) = field(value, "coordinates")? {
                let kind = field(value, "type")?.filter(|kind| kind.kind == ElementType::String);
                return match kind.map(|kind| kind.str_bytes()) {
                    Some(b"Point") => {
                        pair(array(coordinates)?).map_err(|error| error.at(key("coordinates")))
                    }
                    Some(kind) => Err(Mismatch::new(
                        Reason::Type,
                        format!("{POINT} (take other shapes as `Json` or `Geometry`)"),
                        format!("GeoJSON of the type {}", String::from_utf8_lossy(kind)),
                    )),
                    None => Err(Mismatch::new(Reason::Type, POINT, "coordinates without a type")),
                };
            }
            named_pair(value)
        }
        _ => Err(Mismatch::wrong_type(POINT, value)),
    }
}

/// A pair in a document of two numbers, by their names.
fn named_pair(value: Value<'_>) -> Result<[f64; 2], Mismatch> {
    const X: [&[u8]; 5] = [b"lng", b"lon", b"long", b"longitude", b"x"];
    const Y: [&[u8]; 3] = [b"lat", b"latitude", b"y"];
    let (mut x, mut y, mut count) = (None, None, 0);
    let mut elements = value.elements();
    while let Some(element) = elements.next() {
        let (name, element) = element?;
        let number = || {
            exact_double(element, "a coordinate")
                .map_err(|error| error.at(key(&String::from_utf8_lossy(name))))
        };
        count += 1;
        if X.contains(&name) {
            x = Some(number()?);
        } else if Y.contains(&name) {
            y = Some(number()?);
        }
    }
    match (x, y, count) {
        (Some(x), Some(y), 2) => Ok([x, y]),
        _ => Err(Mismatch::new(Reason::Type, POINT, "an object with other fields")),
    }
}

/// A geometry of PostGIS: the column's type is `geometry`, or what `pg_type` says, as
/// `geometry(Point, 4326)`.
///
/// It is read from GeoJSON of every type, whose coordinates are WGS 84 (4326), and from a pair or
/// an embedded document that [`Point`] takes. What is sent is EWKB.
///
/// ```
/// use migrate_core::{Geometry, Migrate};
/// use uuid::Uuid;
///
/// #[derive(Migrate)]
/// struct Parcels {
///     #[migrate(id)]
///     id: Uuid,
///     #[migrate(pg_type = "geometry(Polygon, 4326)")]
///     border: Option<Geometry>,
/// }
///
/// assert_eq!(Parcels::MODEL.get().columns[1].sql_type(), "geometry(Polygon, 4326)");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Geometry(Vec<u8>);

impl Geometry {
    /// A geometry in EWKB, for conversions of your own.
    pub fn from_ewkb(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl ToCell for Geometry {
    const TYPE: CellType = CellType::scalar(BaseType::Other("geometry"));
    type Literal = Self;

    fn encode(value: Value<'_>, _: &CellContext, out: &mut Vec<u8>) -> Result<Wrote, Mismatch> {
        if value.kind == ElementType::EmbeddedDocument
            && let Some(kind) = field(value, "type")?
            && kind.kind == ElementType::String
        {
            write_geometry(value, true, 0, out)?;
            return Ok(Wrote::Payload);
        }
        let [x, y] = pair(value)?;
        write_head(Kind::Point, 2, true, out);
        write_position(&Position { numbers: [x, y, 0.0], length: 2 }, out);
        Ok(Wrote::Payload)
    }

    fn write(&self, _: &CellContext, out: &mut Vec<u8>) -> Result<Wrote, Mismatch> {
        out.extend_from_slice(&self.0);
        Ok(Wrote::Payload)
    }
}

impl Scalar for Geometry {}

/// The kinds of geometries, by their numbers in well-known binary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Point = 1,
    LineString = 2,
    Polygon = 3,
    MultiPoint = 4,
    MultiLineString = 5,
    MultiPolygon = 6,
    GeometryCollection = 7,
}

impl Kind {
    fn named(name: &[u8]) -> Option<Self> {
        Some(match name {
            b"Point" => Self::Point,
            b"LineString" => Self::LineString,
            b"Polygon" => Self::Polygon,
            b"MultiPoint" => Self::MultiPoint,
            b"MultiLineString" => Self::MultiLineString,
            b"MultiPolygon" => Self::MultiPolygon,
            b"GeometryCollection" => Self::GeometryCollection,
            _ => return None,
        })
    }
}

/// How deep collections may hold collections.
const MAX_DEPTH: usize = 32;

fn write_geometry(
    value: Value<'_>,
    outermost: bool,
    depth: usize,
    out: &mut Vec<u8>,
) -> Result<(), Mismatch> {
    if value.kind != ElementType::EmbeddedDocument || depth > MAX_DEPTH {
        return Err(Mismatch::wrong_type("a GeoJSON geometry", value));
    }
    let name = field(value, "type")?.filter(|kind| kind.kind == ElementType::String);
    let name = name.map(|name| name.str_bytes()).unwrap_or_default();
    let Some(kind) = Kind::named(name) else {
        let found = format!("the type {:?}", String::from_utf8_lossy(name));
        return Err(Mismatch::new(Reason::Type, "a GeoJSON geometry", found));
    };
    let inside = match kind {
        Kind::GeometryCollection => "geometries",
        _ => "coordinates",
    };
    let Some(content) = field(value, inside)? else {
        return Err(Mismatch::new(
            Reason::Type,
            format!("a GeoJSON geometry with `{inside}`"),
            "none",
        ));
    };
    let content = array(content)?;
    let at = |error: Mismatch| error.at(key(inside));
    if kind == Kind::GeometryCollection {
        write_head(kind, 2, outermost, out);
        return write_list(content, out, |geometry, out| {
            write_geometry(geometry, false, depth + 1, out)
        })
        .map_err(at);
    }
    let dimensions = dimensions(content, 0).map_err(at)?.unwrap_or(2);
    write_head(kind, dimensions, outermost, out);
    let one = |kind: Kind| {
        move |value: Value<'_>, out: &mut Vec<u8>| {
            write_head(kind, dimensions, false, out);
            write_coordinates(kind, dimensions, value, out)
        }
    };
    match kind {
        Kind::MultiPoint => write_list(content, out, one(Kind::Point)),
        Kind::MultiLineString => write_list(content, out, one(Kind::LineString)),
        Kind::MultiPolygon => write_list(content, out, one(Kind::Polygon)),
        kind => write_coordinates(kind, dimensions, content, out),
    }
    .map_err(at)
}

/// The coordinates of a single geometry.
fn write_coordinates(
    kind: Kind,
    dimensions: usize,
    value: Value<'_>,
    out: &mut Vec<u8>,
) -> Result<(), Mismatch> {
    let position = |value: Value<'_>, out: &mut Vec<u8>| {
        let position = Position::read(value)?;
        if position.length != dimensions {
            return Err(Mismatch::new(
                Reason::Shape,
                format!("{dimensions} coordinates, as in the first position"),
                format!("{}", position.length),
            ));
        }
        write_position(&position, out);
        Ok(())
    };
    match kind {
        Kind::Point => position(value, out),
        Kind::LineString => write_list(value, out, position),
        _ => write_list(value, out, |ring, out| write_list(ring, out, position)),
    }
}

/// The byte order (the lowest byte first), the kind and, where it is the outermost, the system.
fn write_head(kind: Kind, dimensions: usize, with_system: bool, out: &mut Vec<u8>) {
    const HAS_Z: u32 = 0x8000_0000;
    const HAS_SYSTEM: u32 = 0x2000_0000;
    const WGS_84: u32 = 4326;
    let mut word = kind as u32;
    if dimensions == 3 {
        word |= HAS_Z;
    }
    if with_system {
        word |= HAS_SYSTEM;
    }
    out.push(1);
    out.extend_from_slice(&word.to_le_bytes());
    if with_system {
        out.extend_from_slice(&WGS_84.to_le_bytes());
    }
}

fn write_position(position: &Position, out: &mut Vec<u8>) {
    for number in &position.numbers[..position.length] {
        out.extend_from_slice(&number.to_le_bytes());
    }
}

/// A count and as many items; a mismatch gets the item's place.
fn write_list(
    value: Value<'_>,
    out: &mut Vec<u8>,
    each: impl Fn(Value<'_>, &mut Vec<u8>) -> Result<(), Mismatch>,
) -> Result<(), Mismatch> {
    let count_at = out.len();
    out.extend_from_slice(&[0; 4]);
    let mut count = 0;
    let mut elements = array(value)?.elements();
    while let Some(element) = elements.next() {
        let (_, element) = element?;
        each(element, out).map_err(|error| error.at(PathStep::Index(count)))?;
        count += 1;
    }
    out[count_at..count_at + 4].copy_from_slice(&(count as u32).to_le_bytes());
    Ok(())
}

/// How many numbers the first position has; `None` where there is no position.
fn dimensions(value: Value<'_>, depth: usize) -> Result<Option<usize>, Mismatch> {
    let value = array(value)?;
    match value.elements().next().transpose()? {
        Some((_, first)) if first.kind == ElementType::Array && depth < 4 => {
            dimensions(first, depth + 1).map_err(|error| error.at(PathStep::Index(0)))
        }
        Some(_) => Ok(Some(Position::read(value)?.length)),
        None => Ok(None),
    }
}

/// Two or three numbers.
struct Position {
    numbers: [f64; 3],
    length: usize,
}

impl Position {
    fn read(value: Value<'_>) -> Result<Self, Mismatch> {
        let mut position = Self { numbers: [0.0; 3], length: 0 };
        let mut elements = array(value)?.elements();
        while let Some(element) = elements.next() {
            let (_, element) = element?;
            let number = exact_double(element, "a coordinate")
                .map_err(|error| error.at(PathStep::Index(position.length)))?;
            let Some(place) = position.numbers.get_mut(position.length) else {
                return Err(Mismatch::new(Reason::Shape, "two or three coordinates", "more"));
            };
            *place = number;
            position.length += 1;
        }
        if position.length < 2 {
            let found = position.length.to_string();
            return Err(Mismatch::new(Reason::Shape, "two or three coordinates", found));
        }
        Ok(position)
    }
}

fn array(value: Value<'_>) -> Result<Value<'_>, Mismatch> {
    match value.kind {
        ElementType::Array => Ok(value),
        _ => Err(Mismatch::wrong_type("an array of coordinates", value)),
    }
}

/// The field of that name in an embedded document.
fn field<'a>(value: Value<'a>, name: &str) -> Result<Option<Value<'a>>, Mismatch> {
    let mut elements = value.elements();
    while let Some(element) = elements.next() {
        let (key, element) = element?;
        if key == name.as_bytes() {
            return Ok(Some(element));
        }
    }
    Ok(None)
}

#[cold]
fn key(name: &str) -> PathStep {
    PathStep::Key(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::testing::{context, encode, mismatch, reason};
    use super::*;
    use bson::{Bson, bson};

    fn hex(bytes: &[u8]) -> String {
        let mut text = Vec::new();
        crate::cell::write_hex(bytes, &mut text);
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn points_in_all_their_forms() {
        let expected = [8.5_f64.to_be_bytes(), 47_f64.to_be_bytes()].concat();
        for value in [
            bson!([8.5, 47]),
            bson!({ "type": "Point", "coordinates": [8.5, 47.0] }),
            bson!({ "coordinates": [8.5, 47_i64], "type": "Point" }),
            bson!({ "lng": 8.5, "lat": 47 }),
            bson!({ "lat": 47, "lon": 8.5 }),
            bson!({ "longitude": 8.5, "latitude": 47 }),
            bson!({ "x": 8.5, "y": 47 }),
        ] {
            assert_eq!(encode::<Point>(&value), expected, "{value}");
        }
        let mut out = Vec::new();
        Point { x: 8.5, y: 47.0 }.write(&context(), &mut out).unwrap();
        assert_eq!(out, expected);
    }

    #[test]
    fn what_is_no_point() {
        for (value, expected) in [
            (bson!([1]), Reason::Shape),
            (bson!([1, 2, 3]), Reason::Shape),
            (bson!([1, 2, 3, 4]), Reason::Shape),
            (bson!([1, "2"]), Reason::Type),
            (bson!([]), Reason::Shape),
            (bson!({}), Reason::Type),
            (bson!({ "lng": 1 }), Reason::Type),
            (bson!({ "a": 1, "b": 2 }), Reason::Type),
            (bson!({ "lng": 1, "lat": 2, "alt": 3 }), Reason::Type),
            (bson!({ "type": "LineString", "coordinates": [[1, 2], [3, 4]] }), Reason::Type),
            (bson!({ "coordinates": [1, 2] }), Reason::Type),
            (bson!({ "type": "Point", "coordinates": 1 }), Reason::Type),
            (bson!("1,2"), Reason::Type),
        ] {
            assert_eq!(reason::<Point>(&value), expected, "{value}");
        }
        let value = bson!({ "type": "Point", "coordinates": [1, "x"] });
        assert_eq!(mismatch::<Point>(&value, &context()).path("geo"), "geo.coordinates.1");
        assert_eq!(
            mismatch::<Point>(&bson!({ "lng": "1", "lat": 2 }), &context()).path("geo"),
            "geo.lng"
        );
    }

    /// The texts are those of PostGIS' own manual and of its `ST_AsEWKB`.
    #[test]
    fn geometries_are_ewkb() {
        let one = "000000000000f03f";
        let two = "0000000000000040";
        let three = "0000000000000840";
        let system = "e6100000";
        for (value, expected) in [
            (
                bson!({ "type": "Point", "coordinates": [1, 2] }),
                format!("0101000020{system}{one}{two}"),
            ),
            (bson!([1, 2]), format!("0101000020{system}{one}{two}")),
            (bson!({ "lat": 2, "lng": 1 }), format!("0101000020{system}{one}{two}")),
            (
                bson!({ "type": "Point", "coordinates": [1, 2, 3] }),
                format!("01010000a0{system}{one}{two}{three}"),
            ),
            (
                bson!({ "type": "LineString", "coordinates": [[1, 2], [2, 3]] }),
                format!("0102000020{system}02000000{one}{two}{two}{three}"),
            ),
            (
                bson!({ "type": "Polygon", "coordinates": [[[1, 1], [2, 2], [1, 3], [1, 1]]] }),
                format!(
                    "0103000020{system}0100000004000000{one}{one}{two}{two}{one}{three}{one}{one}"
                ),
            ),
            (
                bson!({ "type": "MultiPoint", "coordinates": [[1, 2], [3, 1]] }),
                format!("0104000020{system}020000000101000000{one}{two}0101000000{three}{one}"),
            ),
            (
                bson!({ "type": "MultiLineString", "coordinates": [[[1, 2], [2, 3]]] }),
                format!("0105000020{system}01000000010200000002000000{one}{two}{two}{three}"),
            ),
            (
                bson!({ "type": "MultiPolygon", "coordinates": [[[[1, 1], [2, 2], [1, 1]]]] }),
                format!(
                    "0106000020{system}0100000001030000000100000003000000{one}{one}{two}{two}{one}{one}"
                ),
            ),
            (
                bson!({ "type": "GeometryCollection", "geometries": [
                    { "type": "Point", "coordinates": [1, 2] },
                    { "type": "LineString", "coordinates": [] },
                ] }),
                format!("0107000020{system}020000000101000000{one}{two}010200000000000000"),
            ),
        ] {
            assert_eq!(hex(&encode::<Geometry>(&value)), expected, "{value}");
        }
    }

    #[test]
    fn what_is_no_geometry() {
        for (value, path) in [
            (bson!({ "type": "Circle", "coordinates": [1, 2] }), "g"),
            (bson!({ "type": "Point" }), "g"),
            (bson!({ "type": "Polygon", "coordinates": [1, 2] }), "g.coordinates.0"),
            (
                bson!({ "type": "LineString", "coordinates": [[1, 2], [1, 2, 3]] }),
                "g.coordinates.1",
            ),
            (
                bson!({ "type": "MultiPoint", "coordinates": [[1, 2], [1, "x"]] }),
                "g.coordinates.1.1",
            ),
            (
                bson!({ "type": "GeometryCollection", "geometries": [{ "type": "X" }] }),
                "g.geometries.0",
            ),
            (bson!("POINT(1 2)"), "g"),
        ] {
            assert_eq!(mismatch::<Geometry>(&value, &context()).path("g"), path, "{value}");
        }
        let deep = (0..100).fold(
            bson!({ "type": "Point", "coordinates": [1, 2] }),
            |inner, _| bson!({ "type": "GeometryCollection", "geometries": [inner] }),
        );
        assert_eq!(reason::<Geometry>(&deep), Reason::Type);
        assert_eq!(reason::<Geometry>(&Bson::Null), Reason::Type);
    }
}

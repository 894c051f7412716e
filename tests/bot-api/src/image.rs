//! How large a picture is, by its first bytes. The service takes as photos only what it can read.

/// Width and height in pixels of a PNG, GIF, JPEG or WebP.
pub(crate) fn size(data: &[u8]) -> Option<(u64, u64)> {
    match data {
        [0x89, b'P', b'N', b'G', ..] => Some((big(data, 16, 4)?, big(data, 20, 4)?)),
        [b'G', b'I', b'F', b'8', ..] => Some((little(data, 6, 2)?, little(data, 8, 2)?)),
        [0xff, 0xd8, ..] => jpeg(data),
        [
            b'R',
            b'I',
            b'F',
            b'F',
            _,
            _,
            _,
            _,
            b'W',
            b'E',
            b'B',
            b'P',
            ..,
        ] => webp(data),
        _ => None,
    }
}

fn jpeg(data: &[u8]) -> Option<(u64, u64)> {
    let mut at = 2;
    loop {
        let [0xff, marker] = *data.get(at..at + 2)? else {
            return None;
        };
        match marker {
            // Padding before a marker.
            0xff => at += 1,
            // Frames; what lies between them in this range are tables.
            0xc0..=0xcf if !matches!(marker, 0xc4 | 0xc8 | 0xcc) => {
                return Some((big(data, at + 7, 2)?, big(data, at + 5, 2)?));
            }
            _ => at += 2 + usize::try_from(big(data, at + 2, 2)?).ok()?,
        }
    }
}

fn webp(data: &[u8]) -> Option<(u64, u64)> {
    match data.get(12..16)? {
        b"VP8X" => Some((little(data, 24, 3)? + 1, little(data, 27, 3)? + 1)),
        b"VP8L" => {
            let bits = little(data, 21, 4)?;
            Some(((bits & 0x3fff) + 1, ((bits >> 14) & 0x3fff) + 1))
        }
        b"VP8 " => Some((little(data, 26, 2)? & 0x3fff, little(data, 28, 2)? & 0x3fff)),
        _ => None,
    }
}

fn big(data: &[u8], at: usize, length: usize) -> Option<u64> {
    let bytes = data.get(at..at + length)?;
    Some(
        bytes
            .iter()
            .fold(0, |number, byte| number << 8 | u64::from(*byte)),
    )
}

fn little(data: &[u8], at: usize, length: usize) -> Option<u64> {
    let bytes = data.get(at..at + length)?;
    Some(
        bytes
            .iter()
            .rev()
            .fold(0, |number, byte| number << 8 | u64::from(*byte)),
    )
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn pictures_tell_their_size() {
        let png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\x02\x80\0\0\x01\xe0\x08\x02";
        assert_eq!(size(png), Some((640, 480)));
        let jpeg = b"\xff\xd8\xff\xe0\x00\x04ab\xff\xc0\x00\x11\x08\x01\xe0\x02\x80\x03";
        assert_eq!(size(jpeg), Some((640, 480)));
        assert_eq!(size(b"GIF89a\x80\x02\xe0\x01"), Some((640, 480)));
        let webp = b"RIFF\0\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0\x7f\x02\0\xdf\x01\0";
        assert_eq!(size(webp), Some((640, 480)));
        assert_eq!(size(b"not a picture"), None);
        assert_eq!(size(b"\xff\xd8\xff"), None);
    }
}

"""A wheel as `installer` reads it, compared with its own RECORD before a byte is unpacked."""

import csv
import io
import posixpath
import zipfile

from installer.sources import WheelFile

# A zip bomb's deflate reaches 1000; the text and the zeros of real wheels stay below 50.
MOST_RATIO = 200
SMALL = 64 << 20  # bytes, which any wheel may take
LARGEST_RECORD = 64 << 20  # bytes; 400,000 files


class SourceError(Exception):
    pass


class Source(WheelFile):
    """`size`: the wheel's own, in bytes."""

    def __init__(self, archive: zipfile.ZipFile, size: int) -> None:
        super().__init__(archive)
        self._archive = archive
        self._size = size

    def validate(self) -> None:
        """Raises SourceError or InstallerError. Hashes are left: the whole wheel's was checked."""
        record = f"{self.dist_info_dir}/RECORD"
        entries = {entry.filename: entry.file_size for entry in self._archive.infolist()}
        if entries.get(record, 0) > LARGEST_RECORD:
            raise SourceError(f"its RECORD is of {entries[record]} bytes")
        self.validate_record(validate_contents=False)
        for name, _, size in self._rows():
            # What is longer than the archive says, zipfile refuses while it unpacks.
            if size and entries.get(name, int(size)) != int(size):
                raise SourceError(f"{name} is of {entries[name]} bytes, and of {size} in RECORD")
        total = sum(entries.values())
        if total > max(SMALL, MOST_RATIO * self._size):
            raise SourceError(f"{self._size} bytes that unpack to {total}: a zip bomb")

    def read_dist_info(self, filename: str) -> str:
        if filename != "RECORD":
            return super().read_dist_info(filename)
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(self._rows())
        return text.getvalue()

    def _rows(self) -> list[list[str]]:
        """RECORD's rows. Some tools write `./name` for what the archive has as `name`."""
        names = set(self._archive.namelist())
        rows = list(csv.reader(io.StringIO(super().read_dist_info("RECORD"))))
        for row in rows:
            if row and row[0] not in names:
                row[0] = posixpath.normpath(row[0])
        return [row for row in rows if len(row) == 3]

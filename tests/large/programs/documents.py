"""LibreOffice without a window.

Always holds: documents are generated, and every paragraph and every formula's value is looked for in what comes out.
"""
import csv
import html

from harness.job import digest
from harness.registry import check, program

URN = "urn:oasis:names:tc:opendocument:xmlns"
NAMESPACES = " ".join(f'xmlns:{name}="{URN}:{name}:{version}"' for name, version in (
    ("office", "1.0"), ("text", "1.0"), ("table", "1.0"), ("style", "1.0"), ("of", "1.2")))
PARAGRAPHS = 1500
ROWS = 6000


def paragraph(number):
    words = " ".join(f"word{number * 31 % 977}x{k * k}" for k in range(25))
    return f"Paragraph {number} & <its> text: {words} end{number}."


def flat_document(kind, body):
    return (f'<?xml version="1.0" encoding="UTF-8"?><office:document {NAMESPACES} office:version="1.2" '
            f'office:mimetype="application/vnd.oasis.opendocument.{kind}">'
            f"<office:body><office:{kind}>{body}</office:{kind}></office:body></office:document>")


def write_documents(job):
    parts = []
    for number in range(PARAGRAPHS):
        if number % 50 == 0:
            parts.append(f'<text:h text:outline-level="1">Chapter {number // 50}</text:h>')
            cells = "".join(f"<table:table-cell><text:p>cell {number} {k}</text:p></table:table-cell>" for k in range(6))
            parts.append('<table:table><table:table-column table:number-columns-repeated="6"/>' +
                         f"<table:table-row>{cells}</table:table-row>" * 8 + "</table:table>")
        parts.append(f"<text:p>{html.escape(paragraph(number))}</text:p>")
    (job.input / "text.fodt").write_text(flat_document("text", "".join(parts)))
    rows = []
    for row in range(1, ROWS + 1):
        above = f"[.C{row - 1}]" if row > 1 else "0"
        rows.append(f'<table:table-row><table:table-cell office:value-type="float" office:value="{row * 7919 % 5003}"/>'
                    f'<table:table-cell table:formula="of:=MOD([.A{row}]*[.A{row}];997)"/>'
                    f'<table:table-cell table:formula="of:={above}+[.B{row}]"/>'
                    f'<table:table-cell table:formula="of:=CONCATENATE(&quot;n&quot;;[.B{row}])"/>'
                    f'<table:table-cell table:formula="of:=COUNTIF([.B$1:.B$400];[.B{row}])"/></table:table-row>')
    table = f'<table:table table:name="sums">{"".join(rows)}</table:table>'
    (job.input / "sums.fods").write_text(flat_document("spreadsheet", table))


def expected_rows():
    squares = [(row * 7919 % 5003) ** 2 % 997 for row in range(1, ROWS + 1)]
    total, rows = 0, []
    for row, square in zip(range(1, ROWS + 1), squares):
        total += square
        rows.append([str(row * 7919 % 5003), str(square), str(total), f"n{square}", str(squares[:400].count(square))])
    return rows


@program("libreoffice", serves={"soffice.bin": 50000}, prepare=write_documents)
def libreoffice(job):
    """makes PDF, Word and text files of a long document, and Excel and CSV files of a sheet of 24,000 formulas"""
    def convert(form, name):
        job.run("soffice", "--headless", "--norestore", "--convert-to", form, "--outdir", job.folder, name)
    convert("pdf", job.input / "text.fodt")
    convert("docx", job.input / "text.fodt")
    convert("txt:Text (encoded):UTF8", job.folder / "text.docx")
    convert("xlsx", job.input / "sums.fods")
    convert("csv", job.folder / "sums.xlsx")
    printed = " ".join(job.run("pdftotext", "-layout", "text.pdf", "-").text.split())
    plain = (job.folder / "text.txt").read_text(encoding="utf-8-sig").splitlines()
    for number in range(PARAGRAPHS):
        check(f" end{number}." in printed and f"Paragraph {number} & <its>" in printed, f"the PDF has no paragraph {number}")
    check([line for line in plain if line.startswith("Paragraph")] == [paragraph(number) for number in range(PARAGRAPHS)],
          "the text that was Word's differs from what was written")
    with open(job.folder / "sums.csv") as file:
        check(list(csv.reader(file)) == expected_rows(), "the sheet has other values than its formulas")
    return [len(printed.split()), digest(job.folder / "text.txt"), digest(job.folder / "sums.csv")]

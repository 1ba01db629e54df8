
// Everything, in the order of the page.

figures();
forecast();
timeline();
cost();
causes();
review();
atoms();
document.getElementById("footer").append(
  `Written by mge-ray from the execution's journal; this file needs nothing else. Report version ${run.report_version}.` +
  (data.code_cap < 8000 ? ` Code is cut at ${number(data.code_cap)} characters an attempt to keep the file small; the journal has all of it.` : ""));

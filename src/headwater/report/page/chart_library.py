"""Vega and Vega-Lite, which draw the charts, as one script for the page."""

from __future__ import annotations

from functools import lru_cache

from headwater.errors import MissingDependencyError

# The interpreter draws without building functions from text, which the page forbids itself.
_EXPORTED = "window.vegaEmbed = vegaEmbed;"

LICENCE = """\
Vega, Vega-Lite, Vega-Embed and their parts, as bundled by VlConvert:
Copyright (c) 2015-2025, University of Washington Interactive Data Lab and contributors.
BSD 3-Clause License: redistribution and use in source and binary forms, with or without
modification, are permitted provided that the following conditions are met:
1. Redistributions of source code must retain the above copyright notice, this list of conditions
   and the following disclaimer.
2. Redistributions in binary form must reproduce the above copyright notice, this list of conditions
   and the following disclaimer in the documentation and/or other materials provided with the
   distribution.
3. Neither the name of the copyright holder nor the names of its contributors may be used to endorse
   or promote products derived from this software without specific prior written permission.
THIS SOFTWARE IS PROVIDED BY THE COPYRIGHT HOLDERS AND CONTRIBUTORS "AS IS" AND ANY EXPRESS OR
IMPLIED WARRANTIES, INCLUDING, BUT NOT LIMITED TO, THE IMPLIED WARRANTIES OF MERCHANTABILITY AND
FITNESS FOR A PARTICULAR PURPOSE ARE DISCLAIMED. IN NO EVENT SHALL THE COPYRIGHT HOLDER OR
CONTRIBUTORS BE LIABLE FOR ANY DIRECT, INDIRECT, INCIDENTAL, SPECIAL, EXEMPLARY, OR CONSEQUENTIAL
DAMAGES (INCLUDING, BUT NOT LIMITED TO, PROCUREMENT OF SUBSTITUTE GOODS OR SERVICES; LOSS OF USE,
DATA, OR PROFITS; OR BUSINESS INTERRUPTION) HOWEVER CAUSED AND ON ANY THEORY OF LIABILITY, WHETHER
IN CONTRACT, STRICT LIABILITY, OR TORT (INCLUDING NEGLIGENCE OR OTHERWISE) ARISING IN ANY WAY OUT OF
THE USE OF THIS SOFTWARE, EVEN IF ADVISED OF THE POSSIBILITY OF SUCH DAMAGE.
"""


@lru_cache(maxsize=1)
def chart_library() -> str:
    """The script, which defines `vegaEmbed`.

    Raises:
        MissingDependencyError: vl-convert-python isn't installed.
    """
    try:
        import vl_convert
    except ImportError as error:
        raise MissingDependencyError(
            "a report's charts need vl-convert-python, which isn't installed: "
            "pip install 'headwater[report]'"
        ) from error
    bundle: str = vl_convert.javascript_bundle(_EXPORTED)
    return bundle

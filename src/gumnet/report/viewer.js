/* Turns surfaces that gumnet.report.surface.Mesh.packed made, with the mouse, a finger or the keyboard. No libraries.
   Without WebGL nothing happens, and the still picture below stays. */
"use strict";
(() => {
  const VERTEX = `attribute vec3 place, normal; uniform mat3 turn; uniform vec2 scale; varying vec3 out_;
    void main() { vec3 p = turn * place; out_ = turn * normal; gl_Position = vec4(p.xy * scale, -p.z / 32768.0, 1.0); }`;
  const FRAGMENT = `precision mediump float; varying vec3 out_; uniform vec3 colour;
    void main() { vec3 n = normalize(out_); float d = dot(n, normalize(vec3(0.35, 0.45, 0.82)));
      gl_FragColor = vec4((0.35 + 0.65 * max(d, 0.0)) * (0.25 + 0.75 * colour), 1.0); }`;

  const unpack = (text) => {
    const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer;
    const [n, m] = new Uint32Array(bytes, 0, 2);
    const normals = 8 + Math.ceil((6 * n) / 4) * 4, index = normals + 4 * n;
    const Kind = n < 65536 ? Uint16Array : Uint32Array;
    return { points: new Int16Array(bytes, 8, 3 * n), normals: new Int8Array(bytes, normals, 4 * n),
      index: new Kind(bytes, index, 3 * m) };
  };
  const times = (a, b) => a.map((_, i) => [0, 1, 2].reduce((s, k) => s + a[i - (i % 3) + k] * b[3 * k + (i % 3)], 0));
  /* Rows: right, up, towards the eye. Turned about the axes of the screen. */
  const about = (right, up) => {
    const [c, s, d, t] = [Math.cos(up), Math.sin(up), Math.cos(right), Math.sin(right)];
    return times([1, 0, 0, 0, c, -s, 0, s, c], [d, 0, t, 0, 1, 0, -t, 0, d]);
  };
  const START = about(-0.6, 0.45);

  const start = (box) => {
    const canvas = box.querySelector("canvas"), buttons = [...box.querySelectorAll("button[data-mesh]")];
    const gl = canvas.getContext("webgl", { antialias: true });
    if (!gl || !gl.getExtension("OES_element_index_uint")) return;
    const program = gl.createProgram();
    for (const [kind, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, source);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS)) return;
    gl.useProgram(program);
    const at = (name) => gl.getUniformLocation(program, name);
    const turnAt = at("turn"), scaleAt = at("scale"), colourAt = at("colour");
    const stores = ["points", "normals", "index"].map(() => gl.createBuffer());
    let mesh = null, turn = START, zoom = 1, asked = false;

    const fill = (name, store, size, kind, unit) => {
      const place = gl.getAttribLocation(program, name);
      gl.bindBuffer(gl.ARRAY_BUFFER, stores[store]);
      gl.bufferData(gl.ARRAY_BUFFER, mesh[unit], gl.STATIC_DRAW);
      gl.enableVertexAttribArray(place);
      gl.vertexAttribPointer(place, 3, kind, false, size, 0);
    };
    const choose = (button) => {
      mesh = unpack(button.dataset.mesh);
      fill("place", 0, 6, gl.SHORT, "points");
      fill("normal", 1, 4, gl.BYTE, "normals");
      gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, stores[2]);
      gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, mesh.index, gl.STATIC_DRAW);
      const hex = button.dataset.colour;
      gl.uniform3fv(colourAt, [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16) / 255));
      buttons.forEach((each) => each.setAttribute("aria-pressed", String(each === button)));
      ask();
    };
    const draw = () => {
      asked = false;
      const dense = Math.min(window.devicePixelRatio || 1, 2);
      const [w, h] = [canvas.clientWidth, canvas.clientHeight].map((side) => Math.max(1, Math.round(side * dense)));
      if (canvas.width !== w || canvas.height !== h) [canvas.width, canvas.height] = [w, h];
      gl.viewport(0, 0, w, h);
      gl.clearColor(0, 0, 0, 0);
      gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
      gl.enable(gl.DEPTH_TEST);
      const size = (0.9 * zoom) / 16384, side = Math.min(w, h);
      gl.uniformMatrix3fv(turnAt, false, [0, 3, 6, 1, 4, 7, 2, 5, 8].map((i) => turn[i]));
      gl.uniform2f(scaleAt, (size * side) / w, (size * side) / h);
      gl.drawElements(gl.TRIANGLES, mesh.index.length, mesh.index.BYTES_PER_ELEMENT === 2 ? gl.UNSIGNED_SHORT :
        gl.UNSIGNED_INT, 0);
      canvas.dataset.view = turn.map((value) => value.toFixed(3)).join(" ") + " " + zoom.toFixed(3);
    };
    const ask = () => { if (!asked) { asked = true; requestAnimationFrame(draw); } };
    const rotate = (right, up) => { turn = times(about(right, up), turn); ask(); };
    const scale = (factor) => { zoom = Math.min(4, Math.max(0.5, zoom * factor)); ask(); };
    const reset = () => { turn = START; zoom = 1; ask(); };

    const keys = { ArrowLeft: () => rotate(-0.15, 0), ArrowRight: () => rotate(0.15, 0), ArrowUp: () => rotate(0, -0.15),
      ArrowDown: () => rotate(0, 0.15), "+": () => scale(1.15), "=": () => scale(1.15), "-": () => scale(1 / 1.15),
      Home: reset, "0": reset };
    canvas.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || !(event.key in keys)) return;
      event.preventDefault();
      keys[event.key]();
    });
    canvas.addEventListener("pointerdown", (event) => { canvas.setPointerCapture(event.pointerId); });
    canvas.addEventListener("pointermove", (event) => {
      if (event.buttons & 1 && event.isPrimary) rotate(event.movementX / 120, event.movementY / 120);
    });
    const acts = { closer: () => scale(1.25), further: () => scale(0.8), reset };
    box.querySelectorAll("button[data-act]").forEach((each) => each.addEventListener("click", acts[each.dataset.act]));
    buttons.forEach((each) => each.addEventListener("click", () => choose(each)));
    new ResizeObserver(ask).observe(canvas);
    const still = box.parentElement.querySelector(".still");
    const show = (alive) => { box.hidden = !alive; still.classList.toggle("printed", alive); };
    canvas.addEventListener("webglcontextlost", () => show(false));
    show(true);
    choose(buttons[0]);
    box.dataset.state = "ready";
  };
  document.querySelectorAll(".viewer").forEach(start);
})();

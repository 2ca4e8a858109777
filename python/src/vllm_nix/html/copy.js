for (const line of navigator.clipboard ? document.querySelectorAll(".copy") : []) {
  const button = document.createElement("button");
  button.textContent = "Copy";
  button.onclick = async () => {
    await navigator.clipboard.writeText(line.firstElementChild.textContent);
    button.textContent = "Copied";
  };
  line.append(button);
}

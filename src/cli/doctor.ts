export async function doctor(_options: { readonly json?: boolean }): Promise<void> {
  await Promise.resolve();
}
